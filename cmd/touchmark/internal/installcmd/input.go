package installcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/publicgood"
	"github.com/touchmark/touchmark/services/agent/systemd"
)

// inputFlags name what is handed in for an installation.
type inputFlags struct {
	policies []string
	roots    rules.RootFlags
}

func (f *inputFlags) register(cmd *cobra.Command) {
	f.roots.Register(cmd)
	cmd.Flags().StringArrayVar(&f.policies, "policy", nil, "`file` of policy documents to put into policy.d (docs/policy.md); can be repeated")
}

// inputs are the files that are handed in, by their names in the directories of
// policies and of trust roots.
type inputs struct{ Policies, Roots map[string][]byte }

// read reads the policies and trust roots that are handed in, and those that are
// there.
func (f *inputFlags) read(ctx context.Context, config *hostconfig.Config) (*inputs, *policy.Set, []*trust.Root, error) {
	o := &inputs{Policies: map[string][]byte{}, Roots: map[string][]byte{}}
	set, err := f.readPolicies(ctx, config, o)
	if err != nil {
		return nil, nil, nil, err
	}
	roots, err := f.readRoots(config, o)
	if err != nil {
		return nil, nil, nil, err
	}
	if roots, err = rules.WithPublicGood(roots, set); err != nil {
		return nil, nil, nil, exit.Usage(err)
	}
	return o, set, roots, nil
}

func (f *inputFlags) readPolicies(ctx context.Context, config *hostconfig.Config, o *inputs) (*policy.Set, error) {
	files := slices.Clone(f.policies)
	for _, path := range f.policies {
		data, err := configfile.Read(path, maxInput)
		if err != nil {
			return nil, exit.Usage(fmt.Errorf("--policy: %w", err))
		}
		name := filepath.Base(path)
		if filepath.Ext(name) != ".yaml" {
			return nil, exit.Usage(fmt.Errorf("--policy %s: its name has to end in .yaml to be read from %s", path, config.Policy))
		}
		if o.Policies[name] != nil {
			return nil, exit.Usage(fmt.Errorf("--policy %s: another file has the same name", path))
		}
		// What a policy refers to by a relative path must be there from its new place.
		there := rules.PolicyOptions(false)
		there.File = filepath.Join(config.Policy, name)
		if _, err := policy.Parse(ctx, data, there); err != nil {
			return nil, exit.Usage(fmt.Errorf("--policy %s: in its place in %s: %w", path, config.Policy, err))
		}
		o.Policies[name] = data
	}
	present, err := policy.Files(config.Policy)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, exit.Usage(err)
	}
	for _, path := range present {
		if o.Policies[filepath.Base(path)] == nil {
			files = append(files, path)
		}
	}
	if len(files) == 0 {
		return nil, exit.Usage(fmt.Errorf("there are no policies in %s: hand in a file with --policy", config.Policy))
	}
	set, err := policy.LoadFiles(ctx, files, rules.PolicyOptions(false))
	if err != nil {
		return nil, exit.Usage(err)
	}
	return set, nil
}

func (f *inputFlags) readRoots(config *hostconfig.Config, o *inputs) ([]*trust.Root, error) {
	roots, err := f.roots.Load()
	if err != nil {
		return nil, err
	}
	for _, flag := range f.roots.Files {
		name, path := rules.SplitRoot(flag)
		if path == publicgood.Name {
			continue // built in
		}
		data, err := configfile.Read(path, maxInput)
		if err != nil {
			return nil, exit.Usage(fmt.Errorf("--trusted-root: %w", err))
		}
		file := name + cmp.Or(map[string]string{".jsonl": ".jsonl"}[filepath.Ext(path)], ".json")
		if o.Roots[file] != nil {
			return nil, exit.Usage(fmt.Errorf("--trusted-root %s: another one has the same name; say NAME=FILE", flag))
		}
		o.Roots[file] = data
	}
	present, err := config.RootFiles()
	if err != nil {
		return nil, exit.Usage(err)
	}
	for _, p := range present {
		if o.Roots[filepath.Base(p.Path)] != nil {
			continue
		}
		loaded, err := rules.LoadRoots(p.Name, p.Path)
		if err != nil {
			return nil, exit.Usage(err)
		}
		roots = append(roots, loaded...)
	}
	return roots, nil
}

// startable refuses what an agent would not start with, as a policy whose trust root
// is not there: one that runs would go on with what it read before, until the node
// boots, and then nothing could be pulled. Of trust roots that are followed by TUF
// only the agent knows whether they are there.
func startable(config *hostconfig.Config, set *policy.Set, roots []*trust.Root) error {
	if len(config.Trust.TUF) > 0 {
		return nil
	}
	_, err := rules.NewGate(set, roots)
	return err
}

// agentUnits are systemd's units for the agent of a host, by name. within is a path
// as that host has it.
func agentUnits(config *hostconfig.Config, within func(string) string, user bool) (map[string][]byte, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, exit.Undecided(err)
	}
	c := *config
	c.File, c.Agent.State, c.Agent.Socket = within(config.File), within(config.Agent.State), within(config.Agent.Socket)
	units, err := systemd.Units(systemd.Options{Program: within(program), Config: &c, User: user})
	if err != nil {
		return nil, exit.Usage(err)
	}
	out := map[string][]byte{}
	for _, u := range units {
		out[u.Name] = u.Content
	}
	return out, nil
}

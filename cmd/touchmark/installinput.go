package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/publicgood"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/services/agent/systemd"
)

// read reads the policies and trust roots that are handed in, and those that are
// there.
func (f *installFlags) read(ctx context.Context, config *hostconfig.Config, o *install.Options) (*policy.Set, []*trust.Root, error) {
	o.Policies, o.Roots = map[string][]byte{}, map[string][]byte{}
	files := slices.Clone(f.policies)
	for _, path := range f.policies {
		data, err := configfile.Read(path, maxInput)
		if err != nil {
			return nil, nil, usageError(fmt.Errorf("--policy: %w", err))
		}
		name := filepath.Base(path)
		if filepath.Ext(name) != ".yaml" {
			return nil, nil, usageError(fmt.Errorf("--policy %s: its name has to end in .yaml to be read from %s", path, config.Policy))
		}
		if o.Policies[name] != nil {
			return nil, nil, usageError(fmt.Errorf("--policy %s: another file has the same name", path))
		}
		// What a policy refers to by a relative path must be there from its new place.
		there := policyOptions(false)
		there.File = filepath.Join(config.Policy, name)
		if _, err := policy.Parse(ctx, data, there); err != nil {
			return nil, nil, usageError(fmt.Errorf("--policy %s: in its place in %s: %w", path, config.Policy, err))
		}
		o.Policies[name] = data
	}
	present, err := policy.Files(config.Policy)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, usageError(err)
	}
	for _, path := range present {
		if o.Policies[filepath.Base(path)] == nil {
			files = append(files, path)
		}
	}
	if len(files) == 0 {
		return nil, nil, usageError(fmt.Errorf("there are no policies in %s: hand in a file with --policy", config.Policy))
	}
	set, err := policy.LoadFiles(ctx, files, policyOptions(false))
	if err != nil {
		return nil, nil, usageError(err)
	}
	roots, err := f.readRoots(config, o)
	if err != nil {
		return nil, nil, err
	}
	if roots, err = withPublicGood(roots, set); err != nil {
		return nil, nil, usageError(err)
	}
	return set, roots, nil
}

func (f *installFlags) readRoots(config *hostconfig.Config, o *install.Options) ([]*trust.Root, error) {
	roots, err := f.roots.load()
	if err != nil {
		return nil, err
	}
	for _, flag := range f.roots.files {
		name, path := splitRoot(flag)
		if path == publicgood.Name {
			continue // built in
		}
		data, err := configfile.Read(path, maxInput)
		if err != nil {
			return nil, usageError(fmt.Errorf("--trusted-root: %w", err))
		}
		file := name + cmp.Or(map[string]string{".jsonl": ".jsonl"}[filepath.Ext(path)], ".json")
		if o.Roots[file] != nil {
			return nil, usageError(fmt.Errorf("--trusted-root %s: another one has the same name; say NAME=FILE", flag))
		}
		o.Roots[file] = data
	}
	present, err := config.RootFiles()
	if err != nil {
		return nil, usageError(err)
	}
	for _, p := range present {
		if o.Roots[filepath.Base(p.Path)] != nil {
			continue
		}
		loaded, err := loadRoots(p.Name, p.Path)
		if err != nil {
			return nil, usageError(err)
		}
		roots = append(roots, loaded...)
	}
	return roots, nil
}

// addUnits adds systemd's units for the agent.
func addUnits(o *install.Options, config *hostconfig.Config) error {
	program, err := os.Executable()
	if err != nil {
		return undecided(err)
	}
	within := *config
	within.File, within.Agent.State, within.Agent.Socket = o.Host.Within(config.File), o.Host.Within(config.Agent.State), o.Host.Within(config.Agent.Socket)
	units, err := systemd.Units(systemd.Options{Program: program, Config: &within, User: o.Host.User()})
	if err != nil {
		return usageError(err)
	}
	o.Units = map[string][]byte{}
	for _, u := range units {
		o.Units[u.Name] = u.Content
	}
	return nil
}

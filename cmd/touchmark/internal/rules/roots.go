package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/publicgood"
)

// WithPublicGood adds the embedded root of Sigstore's public-good instance if a policy names it and no other root has its name.
func WithPublicGood(roots []*trust.Root, set *policy.Set) ([]*trust.Root, error) {
	for _, root := range roots {
		if root.Name == publicgood.Name {
			return roots, nil
		}
	}
	for _, p := range set.Policies {
		for _, a := range p.Authorities {
			if slices.Contains([]string{a.TrustRoot, a.LogTrustRoot, a.TimestampTrustRoot}, publicgood.Name) {
				root, err := publicgood.Root(publicgood.Name)
				return append(roots, root), err
			}
		}
	}
	return roots, nil
}

// RootFlags name trusted_root.json files.
type RootFlags struct {
	Files []string // FILE, NAME=FILE or public-good each
}

// Register adds the flags to a command.
func (f *RootFlags) Register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.Files, "trusted-root", nil, "`file` (or NAME=FILE, for a policy's trustRootRef) of a trusted_root.json or .jsonl, or public-good for Sigstore's own, as of "+publicgood.Date+"; may be repeated")
}

// SplitRoot splits NAME=FILE.
func SplitRoot(flag string) (name, file string) {
	if flag == publicgood.Name {
		return publicgood.Name, flag
	}
	if before, after, found := strings.Cut(flag, "="); found && !strings.Contains(before, "/") {
		return before, after
	}
	return defaultRoot, flag
}

// defaultRoot is the name of a trust root that is given without one.
const defaultRoot = "default"

// RootFile is a trusted_root.json and the name of the trust root. Its file can be
// [publicgood.Name], which is built in.
type RootFile struct{ Name, File string }

// Named are the files with their names. Those without one are called default,
// default-2 and so on.
func (f RootFlags) Named() []RootFile {
	var named []RootFile
	unnamed := 0
	for _, flag := range f.Files {
		name, file := SplitRoot(flag)
		if name == defaultRoot {
			if unnamed++; unnamed > 1 {
				name = fmt.Sprintf("%s-%d", defaultRoot, unnamed)
			}
		}
		named = append(named, RootFile{name, file})
	}
	return named
}

// Load reads the trust roots.
func (f RootFlags) Load() ([]*trust.Root, error) {
	var roots []*trust.Root
	for _, r := range f.Named() {
		loaded, err := LoadRoots(r.Name, r.File)
		if err != nil {
			return nil, exit.Usage(fmt.Errorf("--trusted-root: %w", err))
		}
		roots = append(roots, loaded...)
	}
	return roots, nil
}

// LoadRoots reads a file, or takes the embedded root that has a name in the place of one.
func LoadRoots(name, file string) ([]*trust.Root, error) {
	if file == publicgood.Name {
		root, err := publicgood.Root(name)
		return []*trust.Root{root}, err
	}
	return trust.LoadAll(name, file)
}

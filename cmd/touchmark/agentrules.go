package main

import (
	"context"
	"fmt"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/core/trust/publicgood"
)

// hostRules are the policies and trust roots of a host or a user.
type hostRules struct {
	config    *hostconfig.Config
	followers []*follow.Follower
}

// maxTUFRoot bounds a root.json from which a TUF client starts, in bytes: what TUF
// clients read of one.
const maxTUFRoot = 512_000

// newHostRules reads what the TUF clients start from.
func newHostRules(c *hostconfig.Config) (*hostRules, error) {
	r := &hostRules{config: c}
	for _, t := range c.Trust.TUF {
		f := follow.Config{Name: t.Name, Mirror: t.Mirror, CacheDir: c.TUFDir(t.Name), MaxStale: c.Trust.MaxStale}
		if t.Mirror == hostconfig.PublicGood {
			f.Mirror, f.Root = publicgood.Mirror, publicgood.TUFRoot()
		}
		if t.Root != "" {
			var err error
			if f.Root, err = configfile.Read(t.Root, maxTUFRoot); err != nil {
				return nil, fmt.Errorf("%s: trust.tuf %s: root: %w", c.File, t.Name, err)
			}
		}
		r.followers = append(r.followers, follow.New(f))
	}
	return r, nil
}

// load reads policies and trust roots.
func (r *hostRules) load(ctx context.Context) (*policy.Set, []*trust.Root, error) {
	files, err := r.config.RootFiles()
	if err != nil {
		return nil, nil, usageError(err)
	}
	var roots []*trust.Root
	for _, f := range files {
		loaded, err := loadRoots(f.Name, f.Path)
		if err != nil {
			return nil, nil, usageError(err)
		}
		roots = append(roots, loaded...)
	}
	for _, root := range roots {
		if err := root.Check(); err != nil {
			return nil, nil, usageError(fmt.Errorf("%s: %w", r.config.Trust.Dir, err))
		}
	}
	for _, f := range r.followers {
		root, err := f.Load(ctx)
		if err != nil {
			return nil, nil, undecided(err)
		}
		roots = append(roots, root)
	}
	set, err := policy.Load(ctx, r.config.Policy, policyOptions(false))
	if err != nil {
		return nil, nil, usageError(err)
	}
	if roots, err = withPublicGood(roots, set); err != nil {
		return nil, nil, usageError(err)
	}
	return set, roots, nil
}

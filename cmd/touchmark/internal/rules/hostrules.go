package rules

import (
	"context"
	"fmt"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/core/trust/publicgood"
)

// HostRules are the policies and trust roots of a host or a user.
type HostRules struct {
	config    *hostconfig.Config
	Followers []*follow.Follower // of the trust roots that are followed by TUF
}

// MaxTUFRoot bounds a root.json from which a TUF client starts, in bytes: what TUF
// clients read of one.
const MaxTUFRoot = 512_000

// NewHostRules reads what the TUF clients start from.
func NewHostRules(c *hostconfig.Config) (*HostRules, error) {
	r := &HostRules{config: c}
	for _, t := range c.Trust.TUF {
		f := follow.Config{Name: t.Name, Mirror: t.Mirror, CacheDir: c.TUFDir(t.Name), MaxStale: c.Trust.MaxStale}
		if t.Mirror == hostconfig.PublicGood {
			f.Mirror, f.Root = publicgood.Mirror, publicgood.TUFRoot()
		}
		if t.Root != "" {
			var err error
			if f.Root, err = configfile.Read(t.Root, MaxTUFRoot); err != nil {
				return nil, fmt.Errorf("%s: trust.tuf %s: root: %w", c.File, t.Name, err)
			}
		}
		r.Followers = append(r.Followers, follow.New(f))
	}
	return r, nil
}

// Load reads policies and trust roots.
func (r *HostRules) Load(ctx context.Context) (*policy.Set, []*trust.Root, error) {
	files, err := r.config.RootFiles()
	if err != nil {
		return nil, nil, exit.Usage(err)
	}
	var roots []*trust.Root
	for _, f := range files {
		loaded, err := LoadRoots(f.Name, f.Path)
		if err != nil {
			return nil, nil, exit.Usage(err)
		}
		roots = append(roots, loaded...)
	}
	for _, root := range roots {
		if err := root.Check(); err != nil {
			return nil, nil, exit.Usage(fmt.Errorf("%s: %w", r.config.Trust.Dir, err))
		}
	}
	for _, f := range r.Followers {
		root, err := f.Load(ctx)
		if err != nil {
			return nil, nil, exit.Undecided(err)
		}
		roots = append(roots, root)
	}
	set, err := policy.Load(ctx, r.config.Policy, PolicyOptions(false))
	if err != nil {
		return nil, nil, exit.Usage(err)
	}
	if roots, err = WithPublicGood(roots, set); err != nil {
		return nil, nil, exit.Usage(err)
	}
	return set, roots, nil
}

package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/dirlock"
	"github.com/touchmark/touchmark/core/gate/reload"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/core/trust/publicgood"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// maxMetadata bounds a root.json, in bytes: that of Sigstore's own has 6 KiB. It is
// go-tuf's limit for those that it fetches.
const maxMetadata = 512_000

// Roots reads trust roots; followed says where those are that are followed by TUF.
func Roots(list []config.Root, followed func(config.Root) (*trust.Root, error)) (roots []*trust.Root, err error) {
	for _, r := range list {
		var loaded []*trust.Root
		switch {
		case r.Followed():
			loaded, err = one(followed(r))
		case r.File == "":
			loaded, err = one(publicgood.Root(r.Name))
		default:
			loaded, err = trust.LoadAll(r.Name, r.File)
		}
		if err != nil {
			return nil, fmt.Errorf("trust: %w", err)
		}
		roots = append(roots, loaded...)
	}
	for _, root := range roots {
		if err := root.Check(); err != nil { // it is kept for days: whoever set it up is to learn at once
			return nil, fmt.Errorf("trust: %w", err)
		}
	}
	return roots, nil
}

func one(root *trust.Root, err error) ([]*trust.Root, error) { return []*trust.Root{root}, err }

// Follower makes what follows a trust root, with what it has seen in dir. Nothing is
// asked before it is told to.
func Follower(r config.Root, dir string) (*follow.Follower, error) {
	c, err := followConfig(r, dir)
	if err != nil {
		return nil, err
	}
	return follow.New(c), nil
}

func followConfig(r config.Root, dir string) (follow.Config, error) {
	c := follow.Config{Name: r.Name, Mirror: r.TUF.Mirror, CacheDir: dir, MaxStale: r.TUF.MaxStale}
	if r.TUF.Mirror == config.PublicGood {
		c.Mirror, c.Root = publicgood.Mirror, publicgood.TUFRoot()
	}
	if r.TUF.Root != "" {
		var err error
		if c.Root, err = configfile.Read(r.TUF.Root, maxMetadata); err != nil {
			return c, fmt.Errorf("%s: root: %w", r.Name, err)
		}
	}
	if r.TUF.CA != "" {
		pool, err := Authorities(r.TUF.CA)
		if err != nil {
			return c, fmt.Errorf("%s: ca: %w", r.Name, err)
		}
		c.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	}
	return c, nil
}

// own has this process alone use the state directory, if a trust root is followed. What
// two write there by turns protects neither from a repository that goes back.
func (k *kept) own(conf *config.Config) error {
	if len(conf.Followed()) == 0 || k.state != nil && k.stateDir == conf.State {
		return nil
	}
	if err := os.MkdirAll(conf.State, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	lock, err := dirlock.Take(conf.State)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if k.state != nil {
		_ = k.state.Release() // it was only locked; nothing is followed there any more
	}
	k.state, k.stateDir = lock, conf.State
	return nil
}

// followed is a trust root that is followed, and what its follower was made from.
type followed struct {
	*follow.Follower
	root config.Root
	seen reload.State
}

// follow returns what is known of a trust root that is followed. Its follower is the one
// of the world before if nothing about it has changed.
func (w *world) follow(ctx context.Context, r config.Root, before *world) (*trust.Root, error) {
	if w.followed[r.Name] == nil {
		var last *followed
		if before != nil {
			last = before.followed[r.Name]
		}
		var err error
		if w.followed[r.Name], err = last.next(r, w.conf.TUFDir(r)); err != nil {
			return nil, err
		}
	}
	return w.followed[r.Name].Load(ctx)
}

// next is f itself if it follows a trust root as it is to be followed, and what takes its
// place if not. f is nil if there is none.
func (f *followed) next(r config.Root, dir string) (*followed, error) {
	seen := reload.Look(r.TUF.Files())
	if f != nil && f.root == r && f.seen == seen {
		return f, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	c, err := followConfig(r, dir)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return &followed{follow.New(c), r, seen}, nil
	}
	return &followed{f.Next(c), r, seen}, nil
}

// following runs the followers of the world that is in force.
type following struct {
	told    func(follow.Status)
	running map[*followed]context.CancelFunc
	group   sync.WaitGroup
}

// keep starts those of a world that do not run, and stops those that are of none.
func (f *following) keep(ctx context.Context, w *world) {
	wanted := map[*followed]bool{}
	for _, root := range w.followed {
		wanted[root] = true
		if f.running[root] == nil {
			own, stop := context.WithCancel(ctx)
			f.running[root] = stop
			f.group.Go(func() { root.Run(own, f.told) })
		}
	}
	for root, stop := range f.running {
		if !wanted[root] {
			stop()
			delete(f.running, root)
		}
	}
}

// end stops all, and waits for them.
func (f *following) end() {
	for _, stop := range f.running {
		stop()
	}
	f.group.Wait()
}

// logFollower says what came of following a trust root.
func (s *Service) logFollower(status follow.Status) {
	level, message, attributes := status.Line()
	s.logger.Log(context.Background(), level, message, attributes...)
}

// trustRoots are the trust roots that are followed.
func (s *Service) trustRoots() (all []follow.Status) {
	for _, f := range s.world.Load().followed {
		all = append(all, f.Status())
	}
	return all
}

// good reports whether there is a trust root that has not ended.
func (r *rules) good(now time.Time) bool {
	return slices.ContainsFunc(slices.Concat(r.roots, r.set.Roots), func(root *trust.Root) bool {
		return root.Until.IsZero() || now.Before(root.Until)
	})
}

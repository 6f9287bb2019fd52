package agent_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/services/agent"
	"github.com/touchmark/touchmark/services/trustroot"
)

// What the repository publishes anew is in force soon after it was fetched, and
// the agent starts with what it has seen, whether or not the repository is there.
func TestFollowedRootIsReloaded(t *testing.T) {
	t.Parallel() // it waits for files to be looked at
	old, changed := coretest.New(t).TrustedRootJSON(t), coretest.New(t).TrustedRootJSON(t)
	config := trustroot.RepositoryConfig{
		Dir: t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(t)}, Targets: coretest.NewKey(t), Online: coretest.NewKey(t)},
		Targets: map[string][]byte{trustroot.TrustedRootFile: old}, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	repository, err := trustroot.CreateRepository(config)
	if err != nil {
		t.Fatal(err)
	}
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { repository.Handler().ServeHTTP(w, r) }))
	t.Cleanup(mirror.Close)
	cache := t.TempDir()
	f := follow.New(follow.Config{
		Name: "acme", Mirror: mirror.URL, Root: repository.Root(), CacheDir: cache, MaxStale: time.Hour,
	})
	first, err := f.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := repository.Close(); err != nil {
		t.Fatal(err)
	}
	config.Targets = map[string][]byte{trustroot.TrustedRootFile: changed}
	if repository, err = trustroot.OpenRepository(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repository.Close() })

	w := start(t, func(c *agent.Config) {
		load := c.Load
		c.Load = func(ctx context.Context) (*policy.Set, []*trust.Root, error) {
			set, _, err := load(ctx)
			if err != nil {
				return nil, nil, err
			}
			root, err := f.Load(ctx)
			return set, []*trust.Root{root}, err
		}
		c.Followers = []*follow.Follower{f}
		c.Files = append(c.Files, cache)
	})
	eventually(t, "the new root is in force", func() bool {
		roots := w.agent.Status().Roots
		return len(roots) == 1 && roots[0].Name == "acme" && !roots[0].Refreshed.IsZero() && roots[0].Digest == fmt.Sprintf("%x", sha256.Sum256(changed))
	})
	if first.Digest != sha256.Sum256(old) {
		t.Error("the old one was not in force before")
	}
	if metrics := w.metrics(); !strings.Contains(metrics, `touchmark_trust_root_stale{name="acme"} 0`) {
		t.Error("the metrics do not know of it")
	}
}

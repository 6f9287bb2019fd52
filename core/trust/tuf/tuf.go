// Package tuf fetches trusted_root.json and the signing config by TUF, The Update Framework: through a mirror that need not be
// trusted, from one root that was carried over by hand.
//
//	client := tuf.Client{Mirror: "https://sigstore.acme.example/tuf", Root: root, CacheDir: dir, MaxStale: tuf.DefaultMaxStale}
//	result, err := client.Refresh(ctx)
//
// [Client.Refresh] asks the mirror, [Client.Offline] reads the cache alone. Both verify everything from the given root on: each later
// root by the one before it, and the rest by the newest root. What lies in the cache is never believed unverified, and a root in it
// counts only if the given one leads to it.
//
// The verification is go-tuf's. This package decides what is fetched and kept:
//
//   - requests carry no credentials, follow three redirects at most, never from https to http, and end after 30 seconds in all;
//   - answers are read up to TUF's usual limits for each role (root 512 kB, timestamp 16 kB, snapshot 2 MB, targets 5 MB);
//   - go-tuf works in a directory of its own that is removed afterwards. The cache is read and written within [os.Root]: regular files
//     of bounded size, by names that do not come from metadata;
//   - every root that was ever verified is kept, so that a mirror which hides it later takes nobody back to older keys;
//   - only targets that the repository lists at the top are fetched. Delegations are not followed; nobody delegates these files.
//
// # Stale metadata
//
// Metadata that has expired is reported in [Result.Warnings], and refused MaxStale after its end. go-tuf knows no such grace, so it is
// given a time of reference that lies MaxStale in the past, which it uses to judge expiry and for nothing else. A mirror, or whoever
// stands between, can therefore hold back a change for MaxStale longer than the repository's own terms say; MaxStale 0 allows nothing.
package tuf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/touchmark/touchmark/core/trust"
)

// DefaultMaxStale is for how long commands accept expired metadata: long enough for a repository to come back after holidays.
const DefaultMaxStale = 30 * 24 * time.Hour

// The names of the targets, as all Sigstore repositories have them.
const (
	trustedRootTarget   = "trusted_root.json"
	signingConfigTarget = "signing_config.v0.2.json"
)

// Client follows one repository. A value may be used for one call at a time for each CacheDir.
type Client struct {
	// Mirror is the URL below which timestamp.json lies. Required for Refresh.
	Mirror string

	// Root is the content of a root.json of the repository, from a source that is trusted. Required.
	Root []byte

	// CacheDir is a directory for this repository alone, made if need be. Without one ("") there is no protection against rollback
	// from one call to the next.
	CacheDir string

	// Transport makes the requests; nil means http.DefaultTransport. It must not add credentials.
	Transport http.RoundTripper

	// MaxStale is for how long after its end metadata is accepted. 0 is strict.
	MaxStale time.Duration

	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Result is what a repository publishes.
type Result struct {
	// TrustedRoot is the content of trusted_root.json. SigningConfig is that of signing_config.v0.2.json, nil if there is none. Both
	// are what the repository's keys signed; their meaning has not been looked at.
	TrustedRoot, SigningConfig []byte

	// RootVersion and TimestampVersion are those of the metadata that led here.
	RootVersion, TimestampVersion int64

	// Expires is when the first of the four roles ends, or has ended.
	Expires time.Time

	// Warnings say what an operator should see to: expired metadata, a cache that cannot be used. One sentence each.
	Warnings []string
}

// Refresh brings the cache up to date with the mirror and returns what the repository publishes now. After an error the cache is still
// good, and [Client.Offline] may answer from it.
func (c Client) Refresh(ctx context.Context) (*Result, error) {
	if err := checkMirror(c.Mirror); err != nil {
		return nil, fmt.Errorf("refreshing trust root: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	result, err := c.run(c.Mirror, newFetcher(ctx, c.Transport))
	if err != nil {
		return nil, fmt.Errorf("refreshing trust root from %s: %w", c.Mirror, err)
	}
	return result, nil
}

// Offline returns what the cache holds, verified anew.
func (c Client) Offline() (*Result, error) {
	if c.CacheDir == "" {
		return nil, errors.New("reading trust root: there is no cache")
	}
	result, err := c.run("", nil)
	if err != nil {
		return nil, fmt.Errorf("reading trust root from cache %s: %w", c.CacheDir, err)
	}
	return result, nil
}

// run is one update, without network if there is no fetcher.
func (c Client) run(mirror string, f *fetcher) (*Result, error) {
	if c.MaxStale < 0 {
		return nil, errors.New("MaxStale is negative")
	}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	result := &Result{}
	store, err := openCache(c.CacheDir, f != nil)
	if err != nil {
		if f == nil {
			return nil, err
		}
		result.warn("the cache cannot be used, so an older state of the repository would not be noticed: %v", err)
	}
	defer store.close()

	root, err := c.newestRoot(store, result)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "touchmark-tuf-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	if err := store.copyTo(scratch, f == nil); err != nil {
		return nil, err
	}
	u, err := newUpdater(mirror, root, scratch, f)
	if err != nil {
		return nil, err
	}
	u.UnsafeSetRefTime(now().Add(-c.MaxStale))
	err = u.Refresh()
	if f != nil {
		// Also after an error: what was verified so far must not be unseen.
		if keepErr := store.keep(scratch, f.roots, u.GetTrustedMetadataSet().Root.Signed.Version); keepErr != nil {
			result.warn("the cache cannot be written, so an older state of the repository would not be noticed: %v", keepErr)
		}
	}
	if err != nil {
		return nil, err
	}
	if result.TrustedRoot, err = target(u, store, f, trustedRootTarget); err != nil {
		return nil, err
	}
	if result.TrustedRoot == nil {
		return nil, fmt.Errorf("the repository has no %s", trustedRootTarget)
	}
	if result.SigningConfig, err = target(u, store, f, signingConfigTarget); err != nil {
		return nil, err
	}
	result.describe(u.GetTrustedMetadataSet(), now(), c.MaxStale)
	return result, nil
}

// newUpdater sets go-tuf up: limits are its defaults. Without a fetcher it uses the files in scratch alone.
func newUpdater(mirror string, root []byte, scratch string, f *fetcher) (*updater.Updater, error) {
	if f == nil {
		mirror = "http://offline.invalid" // wanted, and not used
	}
	cfg, err := config.New(mirror, root)
	if err != nil {
		return nil, err
	}
	cfg.LocalMetadataDir = scratch
	cfg.LocalTargetsDir = filepath.Join(scratch, "targets")
	cfg.UnsafeLocalMode = f == nil
	if f != nil {
		cfg.Fetcher = f
	}
	u, err := updater.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("the given root: %w", err)
	}
	return u, nil
}

// newestRoot follows the roots in the cache from the given one on, each verified by the one before it.
func (c Client) newestRoot(store *cache, result *Result) ([]byte, error) {
	set, err := trustedmetadata.New(c.Root)
	if err != nil {
		return nil, fmt.Errorf("the given root: %w", err)
	}
	newest := c.Root
	for range maxRoots {
		version := set.Root.Signed.Version + 1
		next := store.read(rootName(version), maxRootSize)
		if next == nil {
			break
		}
		if _, err := set.UpdateRoot(next); err != nil {
			result.warn("%s in the cache is ignored: %v", rootName(version), err)
			break
		}
		newest = next
	}
	return newest, nil
}

// target returns a file that the repository lists: from the cache, if it is the right one, or from the mirror. It is nil if the
// repository does not list it.
func target(u *updater.Updater, store *cache, f *fetcher, name string) ([]byte, error) {
	info := u.GetTopLevelTargets()[name]
	if info == nil {
		return nil, nil
	}
	if info.Length > trust.MaxSize {
		return nil, fmt.Errorf("target %s has %d bytes, the limit is %d", name, info.Length, trust.MaxSize)
	}
	if content := store.read(name, trust.MaxSize); content != nil && info.VerifyLengthHashes(content) == nil {
		return content, nil
	}
	if f == nil {
		return nil, fmt.Errorf("target %s is not in the cache, or is not what the metadata says", name)
	}
	_, content, err := u.DownloadTarget(info, "", "")
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	// A file that could not be kept is fetched again, so nothing is lost but time.
	_ = store.write(name, content)
	return bytes.Clone(content), nil
}

// describe says what led to the result, and warns of what has expired.
func (r *Result) describe(set trustedmetadata.TrustedMetadata, now time.Time, maxStale time.Duration) {
	r.RootVersion, r.TimestampVersion = set.Root.Signed.Version, set.Timestamp.Signed.Version
	for _, role := range []struct {
		name    string
		expires time.Time
	}{
		{metadata.ROOT, set.Root.Signed.Expires}, {metadata.TIMESTAMP, set.Timestamp.Signed.Expires},
		{metadata.SNAPSHOT, set.Snapshot.Signed.Expires}, {metadata.TARGETS, set.Targets[metadata.TARGETS].Signed.Expires},
	} {
		if r.Expires.IsZero() || role.expires.Before(r.Expires) {
			r.Expires = role.expires
		}
		if now.After(role.expires) {
			r.warn("the repository's %s metadata expired at %s; it will be refused from %s on", role.name,
				role.expires.UTC().Format(time.RFC3339), role.expires.Add(maxStale).UTC().Format(time.RFC3339))
		}
	}
}

func (r *Result) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// checkMirror refuses URLs that would carry credentials, or that are none.
func checkMirror(mirror string) error {
	u, err := url.Parse(mirror)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the mirror must be a URL https://HOST/PATH, or http://, without user, query or fragment")
	}
	return nil
}

package tuf

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const day = 24 * time.Hour

func TestFollows(t *testing.T) {
	w := newWorld(t)
	first := w.admits("first root")
	want := &Result{
		TrustedRoot: []byte("first root"), SigningConfig: []byte("first config"), RootVersion: 1, TimestampVersion: 1, Expires: testStart.Add(7 * day),
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	// What is known already is not fetched again.
	w.requests = nil
	w.admits("first root")
	var asked []string
	for _, request := range w.requests {
		asked = append(asked, strings.TrimPrefix(request.URL.Path, "/tuf/"))
	}
	if diff := cmp.Diff([]string{"2.root.json", "timestamp.json"}, asked); diff != "" {
		t.Error(diff)
	}
	// All keys change, twice, while the client is away.
	for range 2 {
		w.nextRoot(func() {
			for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
				w.setKeys(role, newKey())
			}
		})
	}
	delete(w.content, signingConfigTarget)
	w.publishNew("second root")
	if second := w.admits("second root"); second.RootVersion != 3 || second.SigningConfig != nil {
		t.Errorf("%+v", second)
	}
	offline, err := w.client.Offline()
	if err != nil || string(offline.TrustedRoot) != "second root" || offline.RootVersion != 3 {
		t.Errorf("%+v, %v", offline, err)
	}
}

// Without a cache everything is fetched each time, and nothing is left anywhere.
func TestWithoutCache(t *testing.T) {
	w := newWorld(t)
	w.client.CacheDir = ""
	t.Setenv("TMPDIR", t.TempDir())
	t.Chdir(t.TempDir())
	// go-tuf reads metadata in the working directory if its own directory is not set.
	must(0, os.WriteFile("timestamp.json", []byte("{}"), 0o600))
	w.admits("first root")
	w.admits("first root")
	if _, err := w.client.Offline(); err == nil {
		t.Error("there is no cache to read")
	}
	if left := must(os.ReadDir(os.TempDir())); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TUF-06, TUF-14: expired metadata is reported at once and refused after MaxStale, online and offline alike.
func TestTUF06_TUF14_Stale(t *testing.T) {
	w := newWorld(t)
	w.client.MaxStale = DefaultMaxStale
	if result := w.admits("first root"); len(result.Warnings) > 0 {
		t.Error(result.Warnings)
	}
	for _, step := range []struct {
		after, maxStale time.Duration
		roles           string // that are warned of; "-" for a refusal
	}{
		{7 * day, DefaultMaxStale, ""},
		{7*day + time.Second, DefaultMaxStale, "timestamp"},
		{7 * day, 0, ""},
		{7*day + time.Second, 0, "-"},
		{22 * day, DefaultMaxStale, "timestamp snapshot"},
		{37 * day, DefaultMaxStale, "timestamp snapshot"},
		{37*day + time.Second, DefaultMaxStale, "-"},
		{400 * day, 500 * day, "root timestamp snapshot targets"},
		{400 * day, 20 * day, "-"},
	} {
		w.now, w.client.MaxStale = testStart.Add(step.after), step.maxStale
		for _, call := range []struct {
			name string
			run  func() (*Result, error)
		}{{"online", func() (*Result, error) { return w.client.Refresh(context.Background()) }}, {"offline", w.client.Offline}} {
			result, err := call.run()
			got := "-"
			if err == nil {
				var warned []string
				for _, warning := range result.Warnings {
					warned = append(warned, strings.Fields(warning)[2])
				}
				got = strings.Join(warned, " ")
			} else if !strings.Contains(err.Error(), "expired") {
				t.Errorf("%v later: %v", step.after, err)
			}
			if got != step.roles {
				t.Errorf("%s, %v later, with %v: %q, want %q (%v)", call.name, step.after, step.maxStale, got, step.roles, err)
			}
		}
	}
	w.client.MaxStale = -time.Second
	w.refuses("negative", "negative")
}

// A123, TUF-13: whatever somebody makes of a file in the cache, a client that is offline gets what was published or an error, and one
// that is online what is published.
func TestA123_TUF13_EditedCache(t *testing.T) {
	w := newWorld(t)
	w.nextRoot(func() {})
	w.publishNew("published")
	w.admits("published")
	dir := w.client.CacheDir
	entries := must(os.ReadDir(dir))
	if len(entries) != 6 {
		t.Fatalf("%v", entries)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	edits := map[string]func(path string, content []byte){
		"empty":     func(path string, _ []byte) { must(0, os.WriteFile(path, nil, 0o600)) },
		"truncated": func(path string, content []byte) { must(0, os.WriteFile(path, content[:len(content)/2], 0o600)) },
		"huge":      func(path string, _ []byte) { must(0, os.Truncate(path, 1<<40)) },
		"missing":   func(path string, _ []byte) { must(0, os.Remove(path)) },
		"directory": func(path string, _ []byte) { must(0, os.Remove(path)); must(0, os.Mkdir(path, 0o700)) },
		"FIFO":      func(path string, _ []byte) { must(0, os.Remove(path)); must(0, syscall.Mkfifo(path, 0o600)) },
		"link out": func(path string, content []byte) {
			must(0, os.WriteFile(outside, content, 0o600))
			must(0, os.Remove(path))
			must(0, os.Symlink(outside, path))
		},
		"other JSON": func(path string, _ []byte) {
			must(0, os.WriteFile(path, []byte(`{"signed":{},"signatures":[]}`), 0o600))
		},
		"its own kind": func(path string, _ []byte) { must(0, os.WriteFile(path, w.files["1.root.json"], 0o600)) },
	}
	for i := range 10 { // bytes all over the file
		edits["byte "+string(rune('A'+i))] = func(path string, content []byte) {
			edited := append([]byte(nil), content...)
			edited[(2*i+1)*len(edited)/20] ^= 1
			must(0, os.WriteFile(path, edited, 0o600))
		}
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		for name, edit := range edits {
			content := must(os.ReadFile(path))
			edit(path, content)
			if result, err := w.client.Offline(); err == nil && string(result.TrustedRoot) != "published" {
				t.Errorf("%s, %s: offline got %q", entry.Name(), name, result.TrustedRoot)
			} else if err == nil && entry.Name() == trustedRootTarget {
				t.Errorf("%s, %s: offline did not notice", entry.Name(), name)
			}
			result, err := w.client.Refresh(context.Background())
			if err != nil || string(result.TrustedRoot) != "published" {
				t.Fatalf("%s, %s: %v", entry.Name(), name, err)
			}
			if name == "link out" {
				if now := must(os.ReadFile(outside)); string(now) != string(content) {
					t.Errorf("%s: written through a link", entry.Name())
				}
			}
			must(0, os.RemoveAll(path))
			must(0, os.WriteFile(path, content, 0o600))
		}
	}
}

// A124: the given root wins over everything in the cache.
func TestA124_CacheHoldsAnotherRepository(t *testing.T) {
	mallory := newWorld(t)
	mallory.nextRoot(func() {})
	mallory.publishNew("mallory's")
	mallory.admits("mallory's")

	w := newWorld(t)
	w.client.CacheDir = mallory.client.CacheDir
	if result, err := w.client.Offline(); err == nil {
		t.Errorf("offline got %q", result.TrustedRoot)
	}
	if result := w.admits("first root"); len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "2.root.json in the cache is ignored") {
		t.Errorf("warnings %v", result.Warnings)
	}
	if result, err := w.client.Offline(); err != nil || string(result.TrustedRoot) != "first root" {
		t.Errorf("offline %v", err)
	}
}

// TUF-13: a cache that cannot be used costs its protection, which is said, and nothing else.
func TestTUF13_UnusableCache(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "file")
	must(0, os.WriteFile(file, nil, 0o600))
	w.client.CacheDir = file
	if result := w.admits("first root"); len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "cache") {
		t.Errorf("warnings %v", result.Warnings)
	}
	if _, err := w.client.Offline(); err == nil {
		t.Error("offline without a cache")
	}
	// A name that cannot be taken.
	w.client.CacheDir = t.TempDir()
	must(0, os.MkdirAll(filepath.Join(w.client.CacheDir, "timestamp.json", "x"), 0o700))
	if result := w.admits("first root"); len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "cache") {
		t.Errorf("warnings %v", result.Warnings)
	}
}

// What a cache lacks is named as it is called there, and not as the copy that is worked on.
func TestIncompleteCache(t *testing.T) {
	w := newWorld(t)
	w.admits("first root")
	if _, err := w.client.Offline(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(file string) error{
		"timestamp.json": os.Remove,
		"snapshot.json":  func(file string) error { return os.WriteFile(file, []byte("{"), 0o600) },
		"targets.json":   func(file string) error { return os.Truncate(file, 0) },
	} {
		file := filepath.Join(w.client.CacheDir, name)
		content := must(os.ReadFile(file))
		must(0, spoil(file))
		if _, err := w.client.Offline(); err == nil || !strings.Contains(err.Error(), w.client.CacheDir+": "+name) || strings.Contains(err.Error(), "touchmark-tuf-") {
			t.Errorf("%s: %v", name, err)
		}
		must(0, os.WriteFile(file, content, 0o600))
	}
}

// An outage is an error that names the mirror, and the cache still answers.
func TestOutage(t *testing.T) {
	w := newWorld(t)
	w.admits("first root")
	down := errors.New("connection refused")
	w.serve = func(*http.Request) (*http.Response, error) { return nil, down }
	if _, err := w.client.Refresh(context.Background()); !errors.Is(err, down) || !strings.Contains(err.Error(), testMirror) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.client.Refresh(ctx); err == nil {
		t.Error("went on after the end")
	}
	if result, err := w.client.Offline(); err != nil || string(result.TrustedRoot) != "first root" {
		t.Errorf("offline %v", err)
	}
	// A root that was seen before the outage counts.
	w.serve = status("timestamp.json", http.StatusServiceUnavailable)
	old := w.keys[metadata.TIMESTAMP]
	w.nextRoot(func() { w.setKeys(metadata.TIMESTAMP, newKey()) })
	w.refuses("half an update", "503")
	w.serve, w.keys[metadata.TIMESTAMP] = nil, old
	delete(w.files, "2.root.json")
	w.publish()
	w.refuses("the old keys again", "")
}

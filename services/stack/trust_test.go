package stack

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/trust/tuf"
)

// follow is what a client gets that starts from the file for clients.
func follow(t *testing.T, config Config, url string) *tuf.Result {
	t.Helper()
	client := tuf.Client{Mirror: url + "/tuf", Root: must(os.ReadFile(filepath.Join(config.Dir, "trust", "root.json"))), Now: config.Clock}
	result, err := client.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestFollowedByTUF(t *testing.T) {
	config := testConfig(t)
	config.RootKeys, config.RootThreshold = 3, 2
	s := start(t, config)
	url := serve(t, s)
	result := follow(t, config, url)
	if !bytes.Equal(result.TrustedRoot, s.TrustedRoot()) || !bytes.Equal(result.SigningConfig, s.SigningConfig()) {
		t.Error("TUF leads to other files")
	}
	if status, _ := get(t, url+"/tuf/2.root.json"); status != http.StatusNotFound {
		t.Errorf("the next root: status %d", status)
	}
	if got := len(must(filepath.Glob(filepath.Join(config.Dir, "keys", "tuf-root-*.pem")))); got != 3 {
		t.Errorf("%d root keys", got)
	}
}

// The keys of root and targets may be taken away; the online key may not, and none may be another one.
func TestTUFKeysElsewhere(t *testing.T) {
	config := testConfig(t)
	first := start(t, config)
	root := must(os.ReadFile(filepath.Join(config.Dir, "trust", "root.json")))
	must(0, first.Close())
	key := func(name string) string { return filepath.Join(config.Dir, "keys", name+".pem") }
	must(0, os.Remove(key("tuf-root-1")))
	must(0, os.Remove(key("tuf-targets")))
	must(0, os.Remove(filepath.Join(config.Dir, "trust", "root.json"))) // made from the repository again
	second := start(t, config)
	if !bytes.Equal(root, must(os.ReadFile(filepath.Join(config.Dir, "trust", "root.json")))) || len(second.Created()) > 0 {
		t.Errorf("the second start made %v", second.Created())
	}
	follow(t, config, serve(t, second))
	must(0, second.Close())

	online := must(os.ReadFile(key("tuf-online")))
	refuses := func(name, words string) {
		t.Helper()
		if s, err := New(t.Context(), config); err == nil {
			t.Errorf("%s: the stack started", name)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(0, os.Remove(key("tuf-online")))
	refuses("no online key", "tuf-online.pem")
	must(0, keys.WritePrivate(key("tuf-online"), must(keys.Generate(keys.P256))))
	refuses("another online key", "key is not the one")
	must(0, os.WriteFile(key("tuf-online"), online, 0o600))
	start(t, config)
}

// A data directory that an older program made has nothing of a repository, and gets one. One whose repository is gone does not.
func TestOlderDirectoryGetsRepository(t *testing.T) {
	config := testConfig(t)
	first := start(t, config)
	must(0, first.Close())
	made := []string{"tuf", "trust/root.json", "keys/tuf-root-1.pem", "keys/tuf-targets.pem", "keys/tuf-online.pem"}
	for _, name := range made {
		must(0, os.RemoveAll(filepath.Join(config.Dir, name)))
	}
	second := start(t, config)
	if got := len(second.Created()); got != 4 || !bytes.Equal(first.TrustedRoot(), second.TrustedRoot()) {
		t.Errorf("created %v", second.Created())
	}
	if result := follow(t, config, serve(t, second)); !bytes.Equal(result.TrustedRoot, second.TrustedRoot()) {
		t.Error("TUF leads to another trusted root")
	}
	must(0, second.Close())

	must(0, os.RemoveAll(filepath.Join(config.Dir, "tuf")))
	for range 2 { // the second time the directory is there, and empty
		if s, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "restore the repository") {
			t.Errorf("a lost repository: %v", err)
			if s != nil {
				_ = s.Close()
			}
		}
	}
	must(0, os.Remove(filepath.Join(config.Dir, "trust", "root.json")))
	if s, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "tuf-online.pem") {
		t.Errorf("a lost repository, and root: %v", err)
		if s != nil {
			_ = s.Close()
		}
	}
}

// Whatever was made when the making of the repository ended early, the next start completes it.
func TestRepositoryMakingInterrupted(t *testing.T) {
	steps := []string{
		"tuf/first-publication", "keys/tuf-root-1.pem", "keys/tuf-targets.pem", "keys/tuf-online.pem", "tuf/targets", "tuf/1.root.json", "tuf/1.targets.json",
		"tuf/1.snapshot.json", "tuf/timestamp.json", "trust/root.json",
	}
	config := testConfig(t)
	must(0, start(t, config).Close())
	mark := filepath.Join(config.Dir, steps[0])
	for done := range len(steps) + 1 {
		must(0, os.WriteFile(mark, nil, 0o600))
		for _, name := range steps[done:] {
			must(0, os.RemoveAll(filepath.Join(config.Dir, name)))
		}
		s := start(t, config)
		follow(t, config, serve(t, s))
		if _, err := os.Stat(mark); err == nil {
			t.Errorf("%d steps: the mark is still there", done)
		}
		must(0, s.Close())
		root := must(os.ReadFile(filepath.Join(config.Dir, "trust", "root.json")))
		must(0, start(t, config).Close())
		if !bytes.Equal(root, must(os.ReadFile(filepath.Join(config.Dir, "trust", "root.json")))) {
			t.Errorf("%d steps: the start after made another root", done)
		}
	}
}

// A stack that was off for longer than its timestamp lives is whole again when it has started, and says when it is not.
func TestRepositoryHealth(t *testing.T) {
	config := testConfig(t)
	now := time.Now()
	var log lockedBuffer
	config.Clock, config.Logger = func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil))
	s := start(t, config)
	if err := s.Healthy(); err != nil {
		t.Error(err)
	}
	now = now.AddDate(0, 0, 8) // and nobody renews: Run's ticker is of real time
	if err := s.Healthy(); err == nil || !strings.Contains(err.Error(), "timestamp.json expired") {
		t.Errorf("healthy: %v", err)
	}
	must(0, s.Close())
	again := start(t, config)
	if err := again.Healthy(); err != nil {
		t.Error(err)
	}
	follow(t, config, serve(t, again))
}

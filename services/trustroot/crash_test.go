package trustroot

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/keys"
)

// TUF-16, TUF-17: a publication that ends after any of its files. Clients see the old set or the new one, the repository opens again,
// and no version is used for two things.
func TestTUF16_TUF17_EndsAfterAnyFile(t *testing.T) {
	for written := 0; ; written++ {
		w := newRepositoryWorld(t)
		w.follows("first root")
		w.now = w.now.Add(200 * day) // all roles are due
		w.content = map[string][]byte{TrustedRootFile: []byte("second root")}
		p := must(w.prepare(w.now))
		if written > len(p.files) {
			if written < 6 {
				t.Errorf("a publication has %d files", len(p.files))
			}
			return
		}
		for _, f := range p.files[:written] {
			must(0, w.write(f))
		}
		w.client.MaxStale = 300 * day
		result, err := w.client.Refresh(t.Context())
		if err != nil {
			t.Fatalf("after %d of %d files: %v", written, len(p.files), err)
		}
		want := "first root"
		if written == len(p.files) {
			want = "second root"
		}
		if string(result.TrustedRoot) != want {
			t.Errorf("after %d of %d files: %q", written, len(p.files), result.TrustedRoot)
		}
		before := snapshotOf(t, w.config.Dir)
		w.config.Targets = map[string][]byte{TrustedRootFile: []byte("third root")}
		w.reopen()
		w.client.MaxStale = 0
		w.follows("third root")
		for name, content := range snapshotOf(t, w.config.Dir) {
			if old, ok := before[name]; ok && old != content && name != timestampFile {
				t.Errorf("after %d of %d files: %s was changed", written, len(p.files), name)
			}
		}
	}
}

func snapshotOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for _, path := range append(must(filepath.Glob(filepath.Join(dir, "*.json"))), must(filepath.Glob(filepath.Join(dir, "targets", "*")))...) {
		files[filepath.Base(path)] = string(must(os.ReadFile(path)))
	}
	return files
}

// childEnv names the directory for a process of this test binary that publishes until it is killed.
const childEnv = "TOUCHMARK_TEST_TUF_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, publishForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// killConfig is the configuration that parent and child share.
func killConfig(dir string) (RepositoryConfig, error) {
	config := RepositoryConfig{Dir: filepath.Join(dir, "tuf")}
	var err error
	if config.Keys.Targets, err = keys.Load(filepath.Join(dir, "targets.pem")); err != nil {
		return config, err
	}
	config.Keys.Online, err = keys.Load(filepath.Join(dir, "online.pem"))
	return config, err
}

// publishForEver publishes a new trusted root again and again.
func publishForEver(dir string) error {
	config, err := killConfig(dir)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		config.Targets = map[string][]byte{TrustedRootFile: fmt.Appendf(nil, "root %d of %d", i, os.Getpid())}
		r, err := OpenRepository(config)
		if err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("publishing")
		}
	}
}

// TUF-16: kill -9 at any moment. A client can follow each time, and gets a root that was published whole.
func TestTUF16_Killed(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 8
	}
	dir := t.TempDir()
	w := newRepositoryWorld(t, func(c *RepositoryConfig) {
		c.Dir = filepath.Join(dir, "tuf")
		must(0, os.Mkdir(c.Dir, 0o700))
		must(0, keys.WritePrivate(filepath.Join(dir, "targets.pem"), c.Keys.Targets))
		must(0, keys.WritePrivate(filepath.Join(dir, "online.pem"), c.Keys.Online))
		c.Clock = time.Now
	})
	last := int64(0)
	for range rounds {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		c.Env = append(os.Environ(), childEnv+"="+dir)
		out := must(c.StdoutPipe())
		must(0, c.Start())
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		timer := time.NewTimer(rand.N(80 * time.Millisecond))
		<-timer.C
		_ = c.Process.Kill()
		_ = c.Wait()
		result, err := w.client.Refresh(t.Context())
		if err != nil || !strings.HasPrefix(string(result.TrustedRoot), "root ") || result.TimestampVersion <= last {
			t.Fatalf("%v, %+v", err, result)
		}
		last = result.TimestampVersion
	}
	t.Logf("%d timestamps in %d lives", last, rounds)
	config := must(killConfig(dir))
	config.Targets = map[string][]byte{TrustedRootFile: []byte("afterwards")}
	w.config = config
	w.reopen()
	w.follows("afterwards")
}

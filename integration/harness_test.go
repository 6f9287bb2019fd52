package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
)

// Programs under test, built once for all tests of the package.
var touchmark, crane string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "touchmark-integration-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		touchmark, crane = filepath.Join(dir, "touchmark"), filepath.Join(dir, "crane")
		for path, pkg := range map[string]string{
			touchmark: "github.com/touchmark/touchmark/cmd/touchmark",
			crane:     "github.com/google/go-containerregistry/cmd/crane", // at the version in go.mod
		} {
			if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "building %s: %v\n%s", pkg, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	status         int
}

// runCommand runs a command to its end, for a minute at most.
func runCommand(t *testing.T, program string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environment(t)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("running %s: %v", program, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// environment keeps the machine's own credentials and settings out of a test.
func environment(t *testing.T) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + os.TempDir()}
}

// want runs touchmark and fails the test unless it exits with the status.
func want(t *testing.T, status int, args ...string) result {
	t.Helper()
	r := runCommand(t, touchmark, args...)
	if r.status != status {
		t.Fatalf("touchmark %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), r.status, status, r.stdout, r.stderr)
	}
	return r
}

// process is touchmark as a server.
type process struct {
	cmd *exec.Cmd
	log *syncBuffer
	url string
}

// syncBuffer collects a process's output while it runs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var anyURL = regexp.MustCompile(`https?://127\.0\.0\.1:[0-9]+`)

// start starts touchmark as a server, and waits until it has printed the URL
// that it listens on and answers there.
func start(t *testing.T, ready string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(touchmark, args...), log: &syncBuffer{}}
	p.cmd.Env = environment(t)
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = io.MultiWriter(p.log, w), io.MultiWriter(p.log, w)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			if url := anyURL.FindString(lines.Text()); url != "" {
				select {
				case found <- url:
				default:
				}
			}
		}
		io.Copy(io.Discard, r)
	}()
	exited := make(chan struct{})
	go func() { p.cmd.Wait(); w.Close(); close(exited) }()
	deadline := time.After(30 * time.Second)
	select {
	case p.url = <-found:
	case <-exited:
		t.Fatalf("touchmark %s ended at once:\n%s", strings.Join(args, " "), p.log)
	case <-deadline:
		t.Fatalf("touchmark %s did not say where it listens:\n%s", strings.Join(args, " "), p.log)
	}
	for {
		if resp, err := http.Get(p.url + ready); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p
			}
		}
		select {
		case <-exited:
			t.Fatalf("touchmark %s ended:\n%s", strings.Join(args, " "), p.log)
		case <-deadline:
			t.Fatalf("touchmark %s did not get ready:\n%s", strings.Join(args, " "), p.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kill ends the process without warning, as a power cut would.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// end sends a signal and waits until the process's descriptors are gone.
func (p *process) end(sig syscall.Signal) {
	p.cmd.Process.Signal(sig)
	for range 1000 {
		if p.cmd.Process.Signal(syscall.Signal(0)) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// world is a registry, a private Sigstore and its client files.
type world struct {
	dir      string
	registry string
	stack    *process
	root     string
}

func newWorld(t *testing.T, withReferrers bool) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), registry: coretest.NewRegistry(t, withReferrers)}
	w.root = filepath.Join(w.dir, "sigstore", "trust", "trusted_root.json")
	w.up(t, "127.0.0.1:0")
	return w
}

func (w *world) up(t *testing.T, addr string) {
	t.Helper()
	w.stack = start(t, "/healthz", "up", "--data", filepath.Join(w.dir, "sigstore"), "--listen", addr, "--insecure-dev-issuer")
}

// image pushes an index of two platforms and returns its name with a tag.
func (w *world) image(t *testing.T, repository string, seed int64) string {
	t.Helper()
	image := w.registry + "/" + repository + ":1"
	coretest.Push(t, image, coretest.Index(t, seed))
	return image
}

// policy writes a policy: images of the registry must be signed by alice.
func (w *world) policy(t *testing.T) string {
	t.Helper()
	path := filepath.Join(w.dir, "policy.yaml")
	text := fmt.Sprintf(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "%s/**"}]
  authorities:
  - name: alice
    keyless:
      identities: [{issuer: "%s", subject: alice@acme.example}]
`, w.registry, w.stack.url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// platforms returns the references by digest of an index's children.
func platforms(t *testing.T, image string) []string {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, m := range manifest.Manifests {
		refs = append(refs, ref.Context().Digest(m.Digest.String()).String())
	}
	return refs
}

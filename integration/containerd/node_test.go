package containerd_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// node is where the verifier is asked by itself, without a containerd.
type node struct {
	dir    string // short, for the paths of sockets
	config string // config.yaml
}

// configure makes the files of a node: the policy, the trust root, and further
// lines of config.yaml. There is no agent.
func configure(t testing.TB, policy, root, further string) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{dir: dir, config: filepath.Join(dir, "config.yaml")}
	n.write(t, "config.yaml", fmt.Sprintf("policy: %s\nagent: {listen: %q, socket: agent.sock, state: state}\n%s\n", policy, lab.FreeAddress(t), further))
	if root != "" {
		n.write(t, "trust/private.json", read(t, root))
	}
	return n
}

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (n *node) path(rel string) string { return filepath.Join(n.dir, rel) }

func (n *node) write(t testing.TB, rel, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(n.path(rel)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.path(rel), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs a server until the test ends, or until the returned function is
// called, and waits until it has written a text.
func start(t testing.TB, cmd *exec.Cmd, ready string) (stop func()) {
	t.Helper()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); _ = w.Close(); close(exited) }() // how it ends is the test's own doing
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
	}
	t.Cleanup(stop)
	said := make(chan string, 1)
	go func() {
		var all strings.Builder
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), ready) {
				said <- ""
				_, _ = io.Copy(io.Discard, r) // the pipe must not fill
				return
			}
		}
		said <- all.String()
	}()
	select {
	case all := <-said:
		if all != "" {
			t.Fatalf("%s ended:\n%s", cmd, all)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s did not say %q", cmd, ready)
	}
	return stop
}

// agent starts the node's agent.
func (n *node) agent(t testing.TB) (stop func()) {
	t.Helper()
	cmd := exec.Command(lab.Program(), "agent", "--config", n.config)
	cmd.Env = append(lab.Environment(t), "PATH="+filepath.Dir(predicates)+":"+os.Getenv("PATH"))
	return start(t, cmd, "agent is ready")
}

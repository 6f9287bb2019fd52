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

// version of containerd and its programs.
const version = "v2.4.2"

// node is a host with a containerd of its own.
type node struct {
	dir    string // short, for the paths of sockets
	config string // config.yaml
	ctr    string
}

// configure makes the files of a node: the policy, the trust root, and further
// lines of config.yaml. There is no agent, and no containerd.
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

// containerd starts containerd with these verifiers in bin_dir: files by name.
func (n *node) containerd(t testing.TB, verifiers map[string]string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containerd needs root's rights")
	}
	program, shim := lab.Tool(t, "containerd-"+version), lab.Tool(t, "containerd-shim-runc-v2-"+version)
	n.ctr = lab.Tool(t, "ctr-"+version)
	for _, dir := range []string{"bin", "verifiers"} {
		if err := os.Mkdir(n.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"bin/containerd-shim-runc-v2": shim, "bin/touchmark": lab.Program()} {
		if err := os.Symlink(target, n.path(link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range verifiers {
		if err := os.Symlink(target, n.path("verifiers/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	n.write(t, "config.toml", fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = %q
[metrics]
  address = ""
[plugins.'io.containerd.image-verifier.v1.bindir']
  bin_dir = %q
  max_verifiers = 10
  per_verifier_timeout = "10s"
`, n.path("root"), n.path("run"), n.path("c.sock"), n.path("verifiers")))
	cmd := exec.Command(program, "-c", n.path("config.toml"))
	cmd.Env = []string{"PATH=" + n.path("bin") + ":" + os.Getenv("PATH"), "TOUCHMARK_CONFIG=" + n.config, "TMPDIR=" + n.dir}
	start(t, cmd, "containerd successfully booted")
}

// pull has ctr pull an image, by the transfer service.
func (n *node) pull(t testing.TB, image string, flags ...string) lab.Result {
	t.Helper()
	args := append([]string{"-a", n.path("c.sock"), "images", "pull"}, flags...)
	return lab.Command{Program: n.ctr}.Run(t, append(args, image)...)
}

// admits and refuses hold what ctr says against what it should.
func (n *node) admits(t testing.TB, image string, flags ...string) {
	t.Helper()
	if r := n.pull(t, image, flags...); r.Status != 0 {
		t.Errorf("pulling %s: want it admitted, have\n%s", image, r.Output())
	}
}

func (n *node) refuses(t testing.TB, image, says string, flags ...string) {
	t.Helper()
	r := n.pull(t, image, flags...)
	if r.Status == 0 || !strings.Contains(r.Output(), says) {
		t.Errorf("pulling %s: status %d, want a refusal that says %q, have\n%s", image, r.Status, says, r.Output())
	}
}

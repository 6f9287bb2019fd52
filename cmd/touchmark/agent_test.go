package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/keys"
)

// agentHome is one user with a configuration, a registry and a signed image.
type agentHome struct {
	dir      string // $HOME
	registry string
	image    v1.Hash
	down     atomic.Bool // the registry
}

const agentPolicy = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "127.0.0.1:*/**"}, {glob: "registry.example/**"}]
  authorities:
  - keyless: {trustRootRef: acme, identities: [{issuer: "` + coretest.Issuer + `", subject: alice@acme.example}]}
`

func newAgentHome(tb testing.TB) *agentHome {
	tb.Helper()
	// The path of a socket is short.
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &agentHome{dir: dir}
	s := coretest.New(tb)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: coretest.NewRegistry(tb, true)})
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.down.Load() {
			panic(http.ErrAbortHandler)
		}
		behind.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(front) }() // until it is closed
	tb.Cleanup(func() { _ = server.Close() })
	h.registry = front.Addr().String()
	h.write(tb, ".config/touchmark/policy.d/release.yaml", agentPolicy)
	h.write(tb, ".config/touchmark/trust/acme.json", string(s.TrustedRootJSON(tb)))
	h.write(tb, ".config/touchmark/config.yaml", "agent: {listen: \""+freeLoopback(tb)+"\"}\n")
	h.write(tb, ".config/containers/registries.conf", "[[registry]]\nlocation = \""+h.registry+"\"\ninsecure = true\n")

	pushed := coretest.Push(tb, h.registry+"/app:1", coretest.Image(tb, 1))
	if h.image, err = v1.NewHash(pushed.DigestStr()); err != nil {
		tb.Fatal(err)
	}
	body, err := bundle.Marshal(s.SignDigest(tb, coretest.Digest(tb, coretest.Image(tb, 1)), coretest.SignOptions{Identity: coretest.Email("alice@acme.example")}))
	if err != nil {
		tb.Fatal(err)
	}
	subject := v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1, Digest: h.image}
	if _, err := attach.WriteBundle(tb.Context(), h.source(tb), subject, body, "https://sigstore.dev/cosign/sign/v1", s.Clock.Now()); err != nil {
		tb.Fatal(err)
	}
	return h
}

// freeLoopback is an address that nobody listened on a moment ago.
func freeLoopback(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (h *agentHome) source(tb testing.TB) attach.Source {
	tb.Helper()
	repo, err := name.NewRepository(h.registry + "/app")
	if err != nil {
		tb.Fatal(err)
	}
	return attach.Source{Repository: repo}
}

func (h *agentHome) path(rel string) string { return filepath.Join(h.dir, rel) }

func (h *agentHome) write(tb testing.TB, rel, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(rel)), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(h.path(rel), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func (h *agentHome) socket() string { return h.path("run/touchmark/agent.sock") }

// command is this test binary as touchmark, run by the user.
func (h *agentHome) command(tb testing.TB, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(tb.Context(), os.Args[0])
	cmd.Env = []string{"HOME=" + h.dir, "XDG_RUNTIME_DIR=" + h.path("run"), "PATH=" + os.Getenv("PATH"), argumentsEnv + "=" + strings.Join(args, "\n")}
	return cmd
}

// started waits until an agent says that it is ready.
func started(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	log, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.Contains(lines.Text(), "agent is ready") {
			go func() {
				for lines.Scan() { // the pipe must not fill
				}
			}()
			return
		}
		said.WriteString(lines.Text() + "\n")
	}
	tb.Fatalf("the agent ended before it was ready: %v\n%s", cmd.Wait(), said.String())
}

func (h *agentHome) start(tb testing.TB) *exec.Cmd {
	tb.Helper()
	cmd := h.command(tb, "agent", "--user")
	started(tb, cmd)
	return cmd
}

func (h *agentHome) admit(tb testing.TB, image v1.Hash) gate.Verdict {
	tb.Helper()
	c := remote.Dial(h.socket())
	c.Name = "podman"
	return c.Admit(tb.Context(), gate.Request{Repository: h.registry + "/app", Digest: image, ParentsKnown: true, Source: h.source(tb)})
}

// run is a command of the user's, and its exit status.
func (h *agentHome) run(tb testing.TB, args ...string) (int, string) {
	tb.Helper()
	cmd := h.command(tb, args...)
	out, _ := cmd.CombinedOutput() // the status says it
	return cmd.ProcessState.ExitCode(), string(out)
}

// An agent that is killed is itself again after a restart, also while the
// registry is down: what it had admitted, it admits; what it would have to ask
// about is undecided; and what it decided can be read meanwhile.
func TestAgentKilledAndRestarted(t *testing.T) {
	h := newAgentHome(t)
	other := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	cmd := h.start(t)
	if v := h.admit(t, h.image); v.Code != gate.CodeAdmitted {
		t.Fatalf("%s: %s", v.Code, v.Reason)
	}
	if status, out := h.run(t, "why", "--user", h.registry+"/app:1"); status != 0 || !strings.Contains(out, "alice@acme.example") || !strings.Contains(out, "with podman") {
		t.Errorf("why, from the agent: %d\n%s", status, out)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if v := h.admit(t, h.image); v.Code != gate.CodeNoAgent || v.Admitted() {
		t.Errorf("with no agent there: %s: %s", v.Code, v.Reason)
	}
	if status, out := h.run(t, "why", "--user", h.registry+"/app@"+h.image.String()); status != 0 || !strings.Contains(out, "alice@acme.example") {
		t.Errorf("why, from the file: %d\n%s", status, out)
	}

	h.down.Store(true)
	cmd = h.start(t)
	if v := h.admit(t, h.image); v.Code != gate.CodeAdmitted || !v.Cached {
		t.Errorf("after the restart: %s: %s", v.Code, v.Reason)
	}
	if v := h.admit(t, other); v.Outcome != gate.OutcomeUndecided || v.Code != gate.CodeLookupFailed {
		t.Errorf("another image: %s: %s", v.Code, v.Reason)
	}
	status, out := h.run(t, "report", "--user", "-o", "json")
	var report struct {
		Decisions []struct{ Code, Digest, Host string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 || len(report.Decisions) != 1 || report.Decisions[0].Digest != other.String() || report.Decisions[0].Host == "" {
		t.Errorf("report: %d, %v\n%s", status, err, out)
	}
	for _, c := range []struct {
		status int
		args   []string
	}{
		{0, []string{"agent", "status", "--user"}},
		{0, []string{"agent", "status", "--user", "-o", "json"}},
		{exit.StatusUndecided, []string{"why", "--user", "registry.example/never"}},
		{exit.StatusUndecided, []string{"why", "--user", h.registry + "/app@" + other.String()}},
		{exit.StatusUsage, []string{"why", "--user", "UPPER CASE"}},
		{exit.StatusUsage, []string{"why", "--user"}},
		{exit.StatusUsage, []string{"report", "--user", "-o", "xml"}},
		{exit.StatusUndecided, []string{"agent", "--user"}}, // there is one already
	} {
		if status, out := h.run(t, c.args...); status != c.status {
			t.Errorf("%q: exit status %d, want %d\n%s", c.args, status, c.status, out)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("told to stop: %v", err)
	}
}

// Sockets that systemd hands over are used, before the agent is ready: who asks
// meanwhile waits, and is answered.
func TestAgentTakesOverSockets(t *testing.T) {
	h := newAgentHome(t)
	if err := os.MkdirAll(filepath.Dir(h.socket()), 0o700); err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", h.socket())
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for _, l := range []net.Listener{unix, tcp} {
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		files = append(files, f)
	}
	early := make(chan gate.Verdict)
	go func() { early <- h.admit(t, h.image) }()

	// The manager's variables name the process that they are for.
	cmd := h.command(t, "agent", "--user")
	self := cmd.Path
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "LISTEN_PID=$$ exec " + self}
	cmd.Env = append(cmd.Env, "LISTEN_FDS=2")
	cmd.ExtraFiles = files
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = notify.Close() }()
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+h.path("notify"), "WATCHDOG_USEC=300000")
	started(t, cmd)
	if v := <-early; v.Code != gate.CodeAdmitted {
		t.Errorf("asked before the agent was there: %s: %s", v.Code, v.Reason)
	}
	buf := make([]byte, 64)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if n, err := notify.Read(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("the manager is told %q, %v; want %s", buf[:n], err, want)
		}
	}
	resp, err := http.Get("http://" + tcp.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("healthz: %s", resp.Status)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(h.socket()); err != nil {
		t.Errorf("the manager's socket is gone: %v", err)
	}
}

// What is wrong at the start is named with file, line and field.
func TestAgentNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name, file, text string
		want             []string
	}{
		{"configuration", "config.yaml", "agent:\n  listn: x\n", []string{"config.yaml:2", "listn", "unknown field"}},
		{"policy", "policy.d/release.yaml", strings.Replace(agentPolicy, "authorities", "autorities", 1), []string{"policy.d/release.yaml:6", "autorities"}},
		{"another policy", "policy.d/x.yml", "kind: x\n", []string{"policy.d/x.yml", "rename it"}},
		{"trust root", "trust/acme.json", "{}", []string{"trust/acme.json"}},
		{"no such trust root", "policy.d/release.yaml", strings.Replace(agentPolicy, "acme,", "nobody,", 1), []string{"policy.d", "nobody"}},
		{"root of TUF", "config.yaml", "trust: {tuf: [{name: x, mirror: \"https://m.example\", root: none.json}]}\n", []string{"config.yaml", "none.json"}},
	} {
		h := newAgentHome(t)
		h.write(t, ".config/touchmark/"+c.file, c.text)
		status, out := h.run(t, "agent", "--user")
		if status != exit.StatusUsage {
			t.Errorf("%s: exit status %d", c.name, status)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %s lacks %q", c.name, out, want)
			}
		}
	}
}

// As long as the agent signs with a previous key, clients go on accepting that one.
func TestAgentKeyRetire_RunningAgent(t *testing.T) {
	h := newAgentHome(t)
	file := h.path(".config/touchmark/config.yaml")
	h.write(t, ".config/touchmark/config.yaml", "agent: {listen: \""+freeLoopback(t)+"\"}\npodman: {form: sigstore}\n") // whose keys are made fast
	c, err := hostconfig.Load(file, hostconfig.System("/"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := countersign.Generate(t.Context(), countersign.ForHost(c, keys.Options{})); err != nil {
		t.Fatal(err)
	}
	agent := h.start(t)
	if status, out := h.run(t, "agent", "key", "rotate", "--user"); status != 0 {
		t.Fatal(out)
	}
	if status, out := h.run(t, "agent", "key", "retire", "--user"); status != exit.StatusUsage || !strings.Contains(out, "restart it, and retire ten minutes later") {
		t.Errorf("the agent has the previous key: exit status %d: %s", status, out)
	}
	_ = agent.Process.Kill()
	_ = agent.Wait()
	h.start(t)
	if status, out := h.run(t, "agent", "key", "retire", "--user"); status != 0 || strings.Contains(out, "previous") {
		t.Errorf("the agent has the new key: exit status %d: %s", status, out)
	}
}

// BenchmarkAgent is the time from the start to being ready, what it takes of
// memory when it has nothing to do, and the time for a question whose answer it
// knows.
func BenchmarkAgent(b *testing.B) {
	h := newAgentHome(b)
	var cmd *exec.Cmd
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			if cmd != nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait() // killed
			}
			cmd = h.start(b)
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		var kib int
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(kib)/1024, "MiB-idle")
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	cmd = h.start(b)
	defer func() { _ = cmd.Process.Kill() }()
	b.Run("admit", func(b *testing.B) {
		c := remote.Dial(h.socket())
		req := gate.Request{Repository: h.registry + "/app", Digest: h.image, ParentsKnown: true, Source: h.source(b)}
		for b.Loop() {
			if v := c.Admit(b.Context(), req); !v.Admitted() {
				b.Fatal(v.Reason)
			}
		}
	})
}

package agent_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/services/agent"
)

// eventually waits for what takes a moment.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	end := time.After(time.Minute)
	for !ok() {
		select {
		case <-ticks.C:
		case <-end:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestDecidesRecordsAndTells(t *testing.T) {
	w := start(t, nil)
	c := agent.NewClient(w.socket())
	if v := w.admit("registry.example/app"); !v.Admitted() {
		t.Errorf("%+v", v)
	}
	if v := w.admit("other.example/app"); v.Admitted() || v.Code != gate.CodeNoPolicy {
		t.Errorf("%+v", v)
	}
	for image, want := range map[string]gate.Code{
		"registry.example/app": gate.CodeAdmitted, "registry.example/app:1": gate.CodeAdmitted, "registry.example/app@" + digest.String(): gate.CodeAdmitted,
		"other.example/app": gate.CodeNoPolicy, "registry.example/unknown": "", "registry.example/app@sha256:" + strings.Repeat("b", 64): "",
	} {
		found, err := c.Why(t.Context(), image)
		if err != nil {
			t.Errorf("%s: %v", image, err)
			continue
		}
		if (want == "") != (len(found.Decisions) == 0) || want != "" && (found.Decisions[0].Code != want || found.Decisions[0].UID != os.Getuid()) {
			t.Errorf("%s: %+v, want %s", image, found, want)
		}
	}
	for name, want := range map[string]gate.Code{"registry.example/../app": gate.CodeBadRequest, "app": gate.CodeBadRequest, "registry.example/broken": gate.CodeLookupFailed} {
		if v := w.admit(name); v.Code != want || v.Admitted() {
			t.Errorf("%s: %s, %s; want %s", name, v.Outcome, v.Code, want)
		}
	}
	if found, err := c.Report(t.Context()); err != nil || len(found.Decisions) != 3 || found.Decisions[2].Repository != "other.example/app" || found.Decisions[2].Host != "node-1" {
		t.Errorf("report: %+v, %v", found, err)
	}
	if _, err := c.Why(t.Context(), "NOT AN IMAGE"); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("not an image: %v", err)
	}
	if !slices.Equal(w.sources[:2], []string{"registry.example/app agent", "other.example/app agent"}) {
		t.Errorf("sources: %v", w.sources)
	}
	metrics := w.metrics()
	for _, want := range []string{
		`touchmark_decisions_total{client="other",code="no-policy",outcome="refused"} 1`, "touchmark_enforcing 1", `touchmark_reload_failed{files="policy and trust roots"} 0`,
		"touchmark_store_failed 0", "touchmark_policy_loaded_timestamp 1.", "touchmark_decision_seconds_count 4",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if s, err := c.Status(t.Context()); err != nil || s.Key != "a fingerprint" {
		t.Errorf("status: %+v, %v", s, err)
	}
	if _, err := agent.NewClient(w.socket() + "none").Status(t.Context()); !errors.Is(err, agent.ErrAway) {
		t.Errorf("nobody there: %v", err)
	}
}

func (w *world) metrics() string {
	w.t.Helper()
	resp, err := w.client().Get("http://agent/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatal(resp.Status, err)
	}
	return string(text)
}

// Changed files that cannot be used leave the last good ones in force, and
// everything says so; a storm of changes drops no question.
func TestOPS04_ReloadStorm(t *testing.T) {
	t.Parallel() // it waits for files to be looked at
	var broken atomic.Bool
	further := agent.Further{Name: "registries.conf", Load: func(context.Context) error {
		if broken.Load() {
			return errors.New("line 3: what is this")
		}
		return nil
	}}
	file := t.TempDir() + "/registries.conf"
	further.Files = []string{file}
	w := start(t, func(c *agent.Config) { c.Further = []agent.Further{further} })
	ctx, stop := context.WithCancel(t.Context())
	var asked atomic.Int64
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			c := remote.Dial(w.socket())
			for ctx.Err() == nil {
				v := c.Admit(t.Context(), gate.Request{Repository: "registry.example/app", Digest: digest})
				asked.Add(1)
				if v.Outcome == gate.OutcomeUndecided {
					t.Errorf("a question was dropped: %s", v.Reason)
					return
				}
			}
		})
	}
	for _, step := range []struct {
		text     string
		admitted bool
		broken   string
	}{
		{strings.Replace(static, "ACTION", "fail", 1), false, ""},
		{strings.Replace(static, "ACTION", "pass", 1) + "x: 1\n", false, "p.yaml:7"},
		{strings.Replace(static, "ACTION", "pass", 1), true, ""},
	} {
		for range 20 { // a file that changes while it is looked at
			w.writeText(step.text + "#")
			w.writeText(step.text)
		}
		bad := step.broken != ""
		broken.Store(bad)
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, step.text, func() bool {
			s := w.agent.Status()
			return (s.Policy.Error != "") == bad && strings.Contains(s.Policy.Error, step.broken) && (s.Files[0].Error != "") == bad && w.admit("registry.example/app").Admitted() == step.admitted
		})
		for _, files := range []string{"policy and trust roots", "registries.conf"} {
			failed := `touchmark_reload_failed{files="` + files + `"} ` + map[bool]string{true: "1", false: "0"}[bad]
			if !strings.Contains(w.metrics(), failed) {
				t.Errorf("%q: the metrics lack %s", step.text, failed)
			}
		}
		if problems := w.agent.Status().Problems(); (len(problems) > 0) != bad {
			t.Errorf("%q: problems are %v", step.text, problems)
		}
	}
	stop()
	asking.Wait()
	if asked.Load() < 100 {
		t.Errorf("%d questions only", asked.Load())
	}
	for _, want := range []string{"the last good one stays in force", "policy and trust roots were read again", "what was read before stays in force"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// Web pages are not answered, and paths reach a mount as they were sent.
func TestPX18_Loopback(t *testing.T) {
	var seen []string
	mount := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.RequestURI) })
	w := start(t, func(c *agent.Config) { c.Mounts = map[string]http.Handler{"/lookaside/": mount} })
	addr := w.config.Listeners.Loopback.Addr().String()
	_, port, _ := strings.Cut(addr, ":")
	for _, c := range []struct {
		path, host, header string
		status             int
		mounted            bool
	}{
		{"/healthz", "", "", 200, false},
		{"/healthz", "localhost:" + port, "", 200, false},
		{"/healthz", "[::1]:" + port, "", 200, false},
		{"/lookaside/registry.example/a@sha256=aa/signature-1", "", "", 200, true},
		{"/lookaside/../x", "", "", 200, true}, // a mount's matter
		{"/lookaside//%2e%2e/x", "", "", 200, true},
		{"/lookaside", "", "", 404, false},
		{"/", "", "", 404, false},
		{"/metrics", "", "", 404, false},
		{"/v1/status", "", "", 404, false},
		{"/v1/admit", "", "", 404, false},
		{"/healthz", "evil.example", "", 403, false},
		{"/healthz", "evil.example:" + port, "", 403, false},
		{"/healthz", "127.0.0.1", "", 403, false},
		{"/healthz", "127.0.0.1:1", "", 403, false},
		{"/lookaside/x", "evil.example:" + port, "", 403, false},
		{"/lookaside/x", "", "Origin", 403, false},
		{"/lookaside/x", "", "Sec-Fetch-Site", 403, false},
	} {
		seen = nil
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = c.path
		req.Host = c.host
		if c.header != "" {
			req.Header.Set(c.header, "x")
		}
		resp, err := new(http.Transport).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || (len(seen) > 0) != c.mounted || c.mounted && seen[0] != c.path {
			t.Errorf("%+v: %s, mount saw %q", c, resp.Status, seen)
		}
	}
}

// strangerEnv makes this test binary ask an agent, as whoever it runs.
const strangerEnv = "TOUCHMARK_TEST_STRANGER"

func TestMain(m *testing.M) {
	if socket := os.Getenv(strangerEnv); socket != "" {
		stranger(socket)
		return
	}
	os.Exit(m.Run())
}

// stranger prints what it is told.
func stranger(socket string) {
	ctx := context.Background()
	v := remote.Dial(socket).Admit(ctx, gate.Request{Repository: "registry.example/strangers", Digest: digest})
	os.Stdout.WriteString("admit: " + string(v.Code) + "\n")
	c := agent.NewClient(socket)
	for _, image := range []string{"registry.example/app", "registry.example/strangers"} {
		found, err := c.Why(ctx, image)
		switch {
		case err != nil:
			os.Stdout.WriteString("why " + image + ": " + err.Error() + "\n")
		case len(found.Decisions) == 0:
			os.Stdout.WriteString("why " + image + ": nothing\n")
		default:
			os.Stdout.WriteString("why " + image + ": " + string(found.Decisions[0].Code) + "\n")
		}
	}
	for _, path := range []string{"report", "status"} {
		var err error
		if path == "report" {
			_, err = c.Report(ctx)
		} else {
			_, err = c.Status(ctx)
		}
		os.Stdout.WriteString(path + ": " + map[bool]string{true: "told", false: "refused"}[err == nil] + "\n")
	}
}

// Another user of the host is answered without the agent's credentials, and
// told what was decided for that user alone; by a user's own agent, nothing.
func TestPOD13_OtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const nobody = 65534
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(socket string) string {
		cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3")
		f, err := os.Open(program) // the way to it may be closed to others
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		cmd.ExtraFiles = []*os.File{f}
		cmd.Dir, cmd.Env = "/", []string{strangerEnv + "=" + socket}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	w := start(t, nil)
	w.admit("registry.example/app") // root's
	got := ask(w.socket())
	want := "admit: admitted\nwhy registry.example/app: nothing\nwhy registry.example/strangers: admitted\nreport: refused\nstatus: refused\n"
	if got != want {
		t.Errorf("another user is told\n%s, want\n%s", got, want)
	}
	if !slices.Equal(w.sources, []string{"registry.example/app agent", "registry.example/strangers "}) {
		t.Errorf("sources: %q", w.sources)
	}

	w = start(t, func(c *agent.Config) { c.User = true })
	if v := w.admit("registry.example/app"); !v.Admitted() {
		t.Errorf("its own user: %s", v.Reason)
	}
	if err := os.Chmod(w.socket(), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := ask(w.socket()); strings.Contains(got, "admitted") || strings.Contains(got, "nothing") || strings.Contains(got, "told") || len(w.sources) != 1 {
		t.Errorf("a user's agent tells another user\n%s", got)
	}
}

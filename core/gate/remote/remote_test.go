package remote_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/gate/remote"
)

var digest = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}

func request() gate.Request {
	return gate.Request{Repository: "registry.example/app", Digest: digest}
}

// serve answers on a unix socket.
func serve(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ConnContext: remote.ConnContext, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

func verdict(q ask.Question, outcome gate.Outcome, code gate.Code) gate.Verdict {
	return gate.Verdict{Outcome: outcome, Code: code, Reason: "because", Repository: q.Repository, Digest: q.Digest}
}

func TestQuestionsAndVerdictsComeThrough(t *testing.T) {
	var got ask.Question
	var peer remote.Peer
	socket := serve(t, remote.Handler(func(_ context.Context, q ask.Question, p remote.Peer) gate.Verdict {
		got, peer = q, p
		v := verdict(q, gate.OutcomeRefused, gate.CodeUnsigned)
		v.Lookups = []attach.Lookup{{Method: "GET", URL: "https://registry.example/", Status: 404}}
		return v
	}))
	repo, err := name.NewRepository("mirror.example/app")
	if err != nil {
		t.Fatal(err)
	}
	req := request()
	req.MediaType, req.Parents, req.ParentsKnown, req.Source.Repository = "application/x", []v1.Hash{digest}, true, repo
	client := remote.Dial(socket)
	client.Name = "containerd"
	v := client.Admit(t.Context(), req)
	if v.Admitted() || v.Code != gate.CodeUnsigned || len(v.Lookups) != 1 {
		t.Errorf("%+v", v)
	}
	want := ask.Question{
		Client: "containerd", Repository: "registry.example/app", Digest: digest.String(), MediaType: "application/x",
		Parents: []string{digest.String()}, ParentsKnown: true, Physical: "mirror.example/app",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if peer.UID != os.Getuid() || peer.PID != os.Getpid() {
		t.Errorf("peer is %+v", peer)
	}
	back, err := remote.Request(got)
	if err != nil || back.Digest != digest || len(back.Parents) != 1 || !back.ParentsKnown {
		t.Errorf("%+v, %v", back, err)
	}
}

// Whatever is not a whole and sensible verdict about this image is an agent that
// is away; an admission is one.
func TestPOD08_OnlyAVerdictAdmits(t *testing.T) {
	good := func() gate.Verdict {
		return gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Reason: "r", Repository: "registry.example/app", Digest: digest.String()}
	}
	text := func(change func(*gate.Verdict)) string {
		v := good()
		change(&v)
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	whole := text(func(*gate.Verdict) {})
	for what, c := range map[string]struct {
		status int
		body   string
		code   gate.Code
	}{
		"an admission":               {200, whole, gate.CodeAdmitted},
		"of an agent that is newer":  {200, strings.Replace(whole, "{", `{"fromTheFuture":1,`, 1), gate.CodeAdmitted},
		"undecided":                  {200, text(func(v *gate.Verdict) { v.Outcome, v.Code = gate.OutcomeUndecided, gate.CodeTimeout }), gate.CodeTimeout},
		"another image":              {200, text(func(v *gate.Verdict) { v.Digest = "sha256:" + strings.Repeat("b", 64) }), gate.CodeNoAgent},
		"another repository":         {200, text(func(v *gate.Verdict) { v.Repository = "registry.example/other" }), gate.CodeNoAgent},
		"another outcome":            {200, text(func(v *gate.Verdict) { v.Outcome = "yes" }), gate.CodeNoAgent},
		"no outcome":                 {200, text(func(v *gate.Verdict) { v.Outcome = "" }), gate.CodeNoAgent},
		"no reason":                  {200, text(func(v *gate.Verdict) { v.Reason = "" }), gate.CodeNoAgent},
		"an outcome that is twice":   {200, strings.Replace(whole, "{", `{"outcome":"refused",`, 1), gate.CodeNoAgent},
		"half of it":                 {200, whole[:len(whole)/2], gate.CodeNoAgent},
		"two of them":                {200, whole + whole, gate.CodeNoAgent},
		"nothing":                    {200, "", gate.CodeNoAgent},
		"an admission with a status": {500, whole, gate.CodeNoAgent},
		"a redirect":                 {302, whole, gate.CodeNoAgent},
		"not JSON":                   {200, "ok", gate.CodeNoAgent},
		"too much":                   {200, whole + strings.Repeat(" ", 17<<20), gate.CodeNoAgent},
	} {
		socket := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/")
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		client := remote.Dial(socket)
		v := client.Admit(t.Context(), request())
		if v.Code != c.code || v.Admitted() != (c.code == gate.CodeAdmitted) || v.Repository != request().Repository || v.Digest != digest.String() || v.Reason == "" {
			t.Errorf("%s: %s, %s (%s); want %s", what, v.Outcome, v.Code, v.Reason, c.code)
		}
		if c.code == gate.CodeNoAgent && (v.Outcome != gate.OutcomeUndecided || !strings.Contains(v.Reason, socket)) {
			t.Errorf("%s: %s: %s", what, v.Outcome, v.Reason)
		}
	}
}

func TestPOD08_NoAgent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Nobody accepts at this one: it was left behind.
	left := filepath.Join(dir, "left")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	for _, socket := range []string{filepath.Join(dir, "none"), file, left} {
		if v := remote.Dial(socket).Admit(t.Context(), request()); v.Code != gate.CodeNoAgent || v.Admitted() || !strings.Contains(v.Reason, socket) {
			t.Errorf("%s: %+v", socket, v)
		}
	}
	// An agent that goes away in the midst of it.
	socket := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	if v := remote.Dial(socket).Admit(t.Context(), request()); v.Code != gate.CodeNoAgent {
		t.Errorf("%+v", v)
	}
	// A caller that does.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v := remote.Dial(socket).Admit(ctx, request()); v.Code != gate.CodeCancelled || v.Outcome != gate.OutcomeUndecided {
		t.Errorf("%+v", v)
	}
}

// Questions are read strictly.
func TestQuestionsAreReadStrictly(t *testing.T) {
	var asked atomic.Int32
	socket := serve(t, remote.Handler(func(_ context.Context, q ask.Question, _ remote.Peer) gate.Verdict {
		asked.Add(1)
		return verdict(q, gate.OutcomeRefused, gate.CodeNoPolicy)
	}))
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	good := `{"repository":"r.example/a","digest":"` + digest.String() + `"}`
	for _, c := range []struct {
		method, body string
		status       int
	}{
		{"POST", good, 200},
		{"GET", "", 405},
		{"POST", "", 400},
		{"POST", good + good, 400},
		{"POST", strings.Replace(good, "{", `{"admit":true,`, 1), 400},
		{"POST", strings.Replace(good, "{", `{"digest":"x",`, 1), 400},
		{"POST", strings.Replace(good, "repository", "Repository", 1), 400},
		{"POST", strings.Replace(good, "digest", "digst", 1), 400},
		{"POST", `{"repository":"r.example/a"}`, 400},
		{"POST", `{"repository":1,"digest":"x"}`, 400},
		{"POST", strings.Replace(good, "{", `{"client":"`+strings.Repeat("x", 65)+`",`, 1), 400},
		{"POST", `[` + good + `]`, 400},
		{"POST", strings.Replace(good, "r.example", strings.Repeat("r", 20_000), 1), 400},
		{"POST", strings.Replace(good, "{", `{"parents":["`+strings.Repeat(`","`, 100)+`"],`, 1), 400},
	} {
		before := asked.Load()
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://agent"+ask.Path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || (asked.Load() > before) != (c.status == 200) {
			t.Errorf("%s %.100s: %s, asked %v", c.method, c.body, resp.Status, asked.Load() > before)
		}
	}
}

// Who cannot be known is not answered.
func TestNoPeerNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ConnContext: remote.ConnContext, ReadHeaderTimeout: time.Minute, Handler: remote.Handler(func(_ context.Context, q ask.Question, _ remote.Peer) gate.Verdict {
		t.Error("it was asked")
		return verdict(q, gate.OutcomeAdmitted, gate.CodeAdmitted)
	})}
	go func() { _ = server.Serve(l) }() // until it is closed
	defer func() { _ = server.Close() }()
	resp, err := http.Post("http://"+l.Addr().String()+ask.Path, "application/json", strings.NewReader(`{"repository":"r.example/a","digest":"`+digest.String()+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("%s", resp.Status)
	}
}

func BenchmarkAdmit(b *testing.B) {
	socket := filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{ConnContext: remote.ConnContext, ReadHeaderTimeout: time.Minute, Handler: remote.Handler(func(_ context.Context, q ask.Question, _ remote.Peer) gate.Verdict {
		return verdict(q, gate.OutcomeAdmitted, gate.CodeAdmitted)
	})}
	go func() { _ = server.Serve(l) }() // until it is closed
	defer func() { _ = server.Close() }()
	client := remote.Dial(socket)
	for b.Loop() {
		if v := client.Admit(b.Context(), request()); !v.Admitted() {
			b.Fatal(v.Reason)
		}
	}
}

// The agent learns how long it is waited for, and answers in time by itself.
func TestPatience(t *testing.T) {
	socket := serve(t, remote.Handler(func(ctx context.Context, q ask.Question, _ remote.Peer) gate.Verdict {
		end, ok := ctx.Deadline()
		if left := time.Until(end); !ok || left <= 0 || left > 3*time.Second {
			t.Errorf("%s left, %v", left, ok)
		}
		return verdict(q, gate.OutcomeAdmitted, gate.CodeAdmitted)
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if v := remote.Dial(socket).Admit(ctx, request()); !v.Admitted() {
		t.Error(v.Reason)
	}
}

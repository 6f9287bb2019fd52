package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/services/agent"
	"github.com/touchmark/touchmark/services/agent/store"
)

const static = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: all}
spec:
  images: [{glob: "registry.example/**"}]
  authorities: [{static: {action: ACTION}}]
`

var digest = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}

// world is a running agent with a policy that needs no registry.
type world struct {
	t      *testing.T
	policy string // directory
	config agent.Config
	agent  *agent.Agent
	log    *buffer

	mu      sync.Mutex
	sources []string // that were asked for
}

// buffer is a log that may be written to and read at once.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start makes an agent and runs it until the test ends.
func start(t *testing.T, change func(*agent.Config)) *world {
	t.Helper()
	w := &world{t: t, policy: t.TempDir(), log: new(buffer)}
	w.write("pass")
	set, _, err := w.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(w.log, nil))
	records := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Host: "node-1"})
	g, err := gate.New(gate.Config{Policy: set, Store: records})
	if err != nil {
		t.Fatal(err)
	}
	// The path of a socket is short.
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // for other users
		t.Fatal(err)
	}
	listeners, err := agent.Listen(t.Context(), nil, filepath.Join(dir, "s"), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	w.config = agent.Config{
		Gate: g, Set: set, Files: []string{w.policy}, Load: w.load, Recorder: agent.NewRecorder(g, records, logger), Source: w.source,
		Listeners: listeners, Store: records, Logger: logger, Version: "test", Key: "a fingerprint",
	}
	if change != nil {
		change(&w.config)
	}
	if w.agent, err = agent.New(w.config); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.agent.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) write(action string) {
	w.t.Helper()
	w.writeText(strings.Replace(static, "ACTION", action, 1))
}

func (w *world) writeText(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.policy, "p.yaml"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) load(ctx context.Context) (*policy.Set, []*trust.Root, error) {
	set, err := policy.Load(ctx, w.policy, policy.Options{})
	return set, nil, err
}

func (w *world) source(physical string, withCredentials bool) (attach.Source, error) {
	if strings.Contains(physical, "broken") {
		return attach.Source{}, errors.New("registries.conf: line 3")
	}
	repo, err := name.NewRepository(physical)
	s := attach.Source{Repository: repo}
	if withCredentials {
		s.As = "agent"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sources = append(w.sources, physical+" "+s.As)
	return s, err
}

func (w *world) socket() string { return w.config.Listeners.Socket.Addr().String() }

// client speaks HTTP on the socket.
func (w *world) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.socket())
	}}}
}

func (w *world) admit(repository string) gate.Verdict {
	w.t.Helper()
	c := remote.Dial(w.socket())
	return c.Admit(w.t.Context(), gate.Request{Repository: repository, Digest: digest})
}

package proxyfailures_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

// bench is a place for proxies: a trust root, an authority of registries' certificates, and a key to countersign with.
type bench struct {
	t         *testing.T
	authority *authority
	dead      []unreachable
	seq       atomic.Int64
	dir       string
}

func newBench(t *testing.T, root []byte) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(b.dir, "root.json"), root, 0o600); err != nil {
		t.Fatal(err)
	}
	b.authority = newAuthority(t)
	b.authority.write(t, filepath.Join(b.dir, "ca.pem"))
	makeKey(t, b.dir)
	return b
}

// makeKey makes the key that proxies countersign with, and its authority's certificate: replicas make none themselves.
func makeKey(t *testing.T, dir string) {
	t.Helper()
	key := config.Countersign{Key: filepath.Join(dir, "countersign.key"), Authority: filepath.Join(dir, "countersign.pem")}
	if _, err := countersign.Generate(t.Context(), key.Of(keys.Options{})); err != nil {
		t.Fatal(err)
	}
}

// front starts a proxy by its file, which more ends. stop ends it.
func (b *bench) front(upstream, policyText, more string) (url string, stop func(), err error) {
	dir := filepath.Join(b.dir, fmt.Sprint(b.seq.Add(1)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	text := "listen: 127.0.0.1:0\npolicy: policy.yaml\ntrust: [{name: test, file: ../root.json}]\npage: true\n" + more +
		"countersign: {key: ../countersign.key, authority: ../countersign.pem, names: [proxy.example]}\n" +
		"registries:\n- {name: registry.acme.example, upstream: \"" + upstream + "\", ca: ../ca.pem}\n"
	for name, content := range map[string]string{"proxy.yaml": text, "policy.yaml": policyText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return "", nil, err
		}
	}
	s, err := service.New(b.t.Context(), service.Config{
		Read: func() (*config.Config, error) { return config.Load(filepath.Join(dir, "proxy.yaml")) },
		Load: func(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Load(ctx, file, policy.Options{})
			return set, roots, err
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	return s.URL(), func() { cancel(); <-ended }, nil
}

// patience is how long a client waits. It is longer than the gate looks for evidence, and shorter than some of the proxy's own limits: what it
// has by then has to be right, and not complete if it is wrong.
const patience = 10 * time.Second

// reply is what a client got.
type reply struct {
	status  int
	header  http.Header
	body    []byte
	err     error // of the request or its body
	code    string
	message string
}

func ask(client *http.Client, url string, e entry, repository string, a artifact) reply {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(client.Timeout, patience))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, e.method, url+e.path(repository, a), nil)
	if err != nil {
		return reply{err: err}
	}
	if e.byteRange != "" {
		req.Header.Set("Range", e.byteRange)
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header}
	r.body, r.err = io.ReadAll(resp.Body)
	var refusal struct {
		Errors []struct{ Code, Message string }
	}
	if r.status >= 400 && json.Unmarshal(r.body, &refusal) == nil && len(refusal.Errors) > 0 {
		r.code, r.message = refusal.Errors[0].Code, refusal.Errors[0].Message
	}
	return r
}

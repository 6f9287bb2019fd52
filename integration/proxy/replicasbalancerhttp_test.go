package proxy_test

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// balancerAddress is where the balancer that speaks HTTP comes from.
const balancerAddress = "127.0.0.50"

// ended is replicas behind a balancer that ends TLS, takes them in turn, and adds its clients' addresses to what the clients say of theirs.
type ended struct {
	replicas  []*lab.Process
	decisions []string // the file of each
	front     *httptest.Server
}

func newEnded(t *testing.T) *ended {
	t.Helper()
	upstream, dir, e := coretest.NewRegistry(t, true), t.TempDir(), &ended{}
	coretest.Push(t, upstream+"/good:1", coretest.Image(t, 1))
	coretest.Push(t, upstream+"/good:2", coretest.Image(t, 2))
	hash, err := bcrypt.GenerateFromPassword([]byte("alice"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"policy.yaml": rules, "users": fmt.Sprintf("alice:%s\n", hash)}
	var targets []*url.URL
	for i := range 2 {
		decisions := fmt.Sprintf("decisions%d.jsonl", i)
		e.decisions = append(e.decisions, filepath.Join(dir, decisions))
		files["proxy.yaml"] = fmt.Sprintf(`listen: 127.0.0.1:0
balancers: [%s]
policy: policy.yaml
registries:
- {name: %s, upstream: "http://%s"}
auth: {htpasswd: users, anonymous: true}
decisions: {file: %s}
`, balancerAddress, logicalName, upstream, decisions)
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e.replicas = append(e.replicas, lab.Start(t, "/v2/good/tags/list", "proxy", "--config", filepath.Join(dir, "proxy.yaml")))
		target, err := url.Parse(e.replicas[i].URL)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	var next atomic.Int64
	e.front = httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: from(t, balancerAddress),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(targets[next.Add(1)%int64(len(targets))])
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		},
	})
	e.front.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that hang up
	e.front.StartTLS()
	t.Cleanup(e.front.Close)
	return e
}

// from is how a client with an address of its own on this machine asks.
func from(t *testing.T, address string) *http.Transport {
	t.Helper()
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// asked returns who was told something of an image, by the decision logs of all replicas, which have ended. Each stands there once.
func (e *ended) asked(t *testing.T) (who []string) {
	t.Helper()
	for i, path := range e.decisions {
		e.replicas[i].End(syscall.SIGTERM)
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			var d struct{ Who, Address string }
			if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
				t.Fatal(err)
			}
			who = append(who, d.Who+" at "+d.Address)
		}
	}
	slices.Sort(who)
	return slices.Compact(who)
}

// PX-17, PX-35: behind a balancer that ends TLS a stock client logs in and pulls by HTTPS alone, and the decision logs have everybody's own address.
func TestReplicas_ABalancerThatEndsTLS(t *testing.T) {
	t.Parallel()
	e := newEnded(t)
	host, home := strings.TrimPrefix(e.front.URL, "https://"), t.TempDir()
	store := filepath.Join(home, "balancer.pem")
	if err := os.WriteFile(store, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.front.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	crane := lab.Command{Program: lab.Tool(t, "crane-v0.22.1"), Env: []string{"DOCKER_CONFIG=" + home, "SSL_CERT_FILE=" + store}}
	for _, args := range [][]string{
		{"auth", "login", "-u", "alice", "-p", "alice", host},
		{"pull", host + "/good:1", filepath.Join(home, "image.tar")},
		{"ls", host + "/good"},
	} {
		if r := crane.Run(t, args...); r.Status != 0 {
			t.Errorf("crane %s: %s", args[0], r.Output())
		}
	}
	for address, target := range map[string]string{"127.0.0.2": e.front.URL, "127.0.0.3": e.front.URL, "127.0.0.4": e.replicas[0].URL} {
		transport := from(t, address)
		transport.TLSClientConfig = e.front.Client().Transport.(*http.Transport).TLSClientConfig
		for path, want := range map[string]int{
			"/v2/": http.StatusUnauthorized, "/v2/good/manifests/1": http.StatusOK, "/v2/good/manifests/2": http.StatusOK,
			"/v2/good/tags/list?n=1": http.StatusOK, "/v2/absent/tags/list": http.StatusNotFound,
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if path != "/v2/" {
				req.SetBasicAuth("alice", "alice")
			}
			req.Header.Set("X-Forwarded-For", "203.0.113.1, "+balancerAddress)
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if all := fmt.Sprint(resp.Header); resp.StatusCode != want || strings.Contains(all, "http:") || strings.Contains(all, "127.0.0.") {
				t.Errorf("%s from %s: %s, want %d, %s", path, address, resp.Status, want, all)
			}
		}
	}
	want := []string{"user:alice at 127.0.0.1", "user:alice at 127.0.0.2", "user:alice at 127.0.0.3", "user:alice at 127.0.0.4"}
	if diff := cmp.Diff(want, e.asked(t)); diff != "" {
		t.Error(diff)
	}
}

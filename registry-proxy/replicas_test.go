package registryproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/peers"
)

// fleet is three replicas behind a balancer that gives each request to the next one.
type fleet struct {
	*realLab
	secret   []byte
	urls     []string // where the replicas ask each other
	replicas []*replica
	balancer *httptest.Server
	next     atomic.Int64
	served   atomic.Int64
	at       atomic.Pointer[func(n int64)] // called before each request is passed on
}

// replica is one process, as far as others can see: killed, it closes every connection; started again, it knows nothing.
type replica struct {
	mu     sync.Mutex
	proxy  *Proxy           // nil while it is dead
	server *httptest.Server // for clients; nil while it is dead
}

func newFleet(t *testing.T, withPeers bool) *fleet {
	f := &fleet{realLab: newRealLab(t, true), secret: bytes.Repeat([]byte("s"), peers.MinSecret)}
	for range 3 {
		r := &replica{}
		known, err := peers.Handler(f.secret, f.clock.Now, func(repository string, digest v1.Hash) []v1.Hash {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.proxy == nil {
				panic(http.ErrAbortHandler)
			}
			return r.proxy.Holders(repository, digest)
		})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(known)
		t.Cleanup(server.Close)
		f.urls = append(f.urls, server.URL)
		f.replicas = append(f.replicas, r)
	}
	if !withPeers {
		f.urls = nil
	}
	for _, r := range f.replicas {
		f.startReplica(r)
	}
	f.balancer = httptest.NewServer(f)
	t.Cleanup(f.balancer.Close)
	t.Cleanup(func() {
		for _, r := range f.replicas {
			r.kill()
		}
	})
	f.url = f.balancer.URL
	return f
}

func (f *fleet) startReplica(r *replica) {
	c := Config{
		Upstream: f.upstream.URL, LogicalName: "registry.acme.example", Admitter: realGate(f.t, f.sigstore, f.clock), Now: f.clock.Now,
		Logger: slog.New(slog.NewJSONHandler(f.logs, nil)),
	}
	if f.urls != nil {
		client, err := peers.New(peers.Config{URLs: f.urls, Secret: f.secret, Now: f.clock.Now})
		if err != nil {
			f.t.Error(err)
			return
		}
		c.Peers = client
	}
	p, err := New(c)
	if err != nil {
		f.t.Error(err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proxy, r.server = p, httptest.NewUnstartedServer(p.Handler())
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.server.Start()
}

// kill is kill -9: answers under way end where they are.
func (r *replica) kill() {
	r.mu.Lock()
	server := r.server
	r.proxy, r.server = nil, nil
	r.mu.Unlock()
	if server != nil {
		server.Listener.Close()
		server.CloseClientConnections()
		go server.Close() // waits for handlers that hold requests to the upstream
	}
}

// ServeHTTP is the balancer: round-robin, and a replica that cannot be connected to is passed over.
func (f *fleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if at := f.at.Load(); at != nil {
		(*at)(f.served.Add(1))
	}
	for range 2 * len(f.replicas) {
		chosen := f.replicas[f.next.Add(1)%int64(len(f.replicas))]
		chosen.mu.Lock()
		var target *url.URL
		if chosen.server != nil {
			target, _ = url.Parse(chosen.server.URL)
		}
		chosen.mu.Unlock()
		if target == nil {
			continue
		}
		failed := false
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = &http.Transport{DisableKeepAlives: true}
		proxy.ErrorLog = log.New(io.Discard, "", 0)
		proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { failed = true }
		proxy.ServeHTTP(w, r)
		if !failed {
			return
		}
	}
	w.WriteHeader(http.StatusBadGateway)
}

// pullLayer reads a blob as containers/image and containerd do: what breaks off is continued by a range.
func (f *fleet) pullLayer(d v1.Descriptor) error {
	var got bytes.Buffer
	for range 4 {
		req, err := http.NewRequest(http.MethodGet, f.url+"/v2/app/web/blobs/"+d.Digest.String(), nil)
		if err != nil {
			return err
		}
		if got.Len() > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-", got.Len()))
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			continue
		}
		switch {
		case resp.StatusCode == http.StatusOK:
			got.Reset()
		case resp.StatusCode != http.StatusPartialContent:
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			return fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		_, err = io.Copy(&got, resp.Body)
		resp.Body.Close()
		if err == nil {
			if sum(got.Bytes()) != d.Digest {
				return errors.New("wrong bytes")
			}
			return nil
		}
	}
	return errors.New("it broke off four times")
}

// pull reads an image through the balancer; like a containerd that has the manifest already, it may begin with the layers.
func (f *fleet) pull(m *v1.Manifest, reference string, layersFirst bool) error {
	if !layersFirst {
		var r reply
		for range 3 { // clients repeat a request whose connection broke
			if r = f.get("/v2/app/web/manifests/" + reference); r.err == nil {
				break
			}
		}
		if r.err != nil || r.StatusCode != http.StatusOK {
			return fmt.Errorf("manifest: %d %s %v", r.StatusCode, r.body, r.err)
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(m.Layers)+1)
	turns := make(chan struct{}, 3) // as many at a time as docker
	for i, d := range append(m.Layers, m.Config) {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if err := f.pullLayer(d); err != nil {
				errs[i] = fmt.Errorf("blob %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// disturb restarts one replica and kills another during the pull that follows; heal starts the dead one again.
func (f *fleet) disturb(requests int) (heal func()) {
	order := rand.Perm(len(f.replicas))
	restarted, killed := f.replicas[order[0]], f.replicas[order[1]]
	begin := f.served.Load()
	restartAt, killAt := begin+1+rand.Int64N(int64(requests)), begin+1+rand.Int64N(int64(requests))
	at := func(n int64) {
		if n == restartAt {
			restarted.kill()
			f.startReplica(restarted)
		}
		if n == killAt {
			killed.kill()
		}
	}
	f.at.Store(&at)
	return func() {
		f.at.Store(nil)
		killed.kill()
		f.startReplica(killed)
		f.clock.Advance(time.Minute) // searches and silent peers are not remembered that long
	}
}

func TestReplicas_200PullsWhileOneRestartsAndOneIsKilled(t *testing.T) {
	pulls := 200
	if testing.Short() {
		pulls = 40
	}
	for _, withPeers := range []bool{true, false} {
		t.Run(fmt.Sprintf("peers %v", withPeers), func(t *testing.T) {
			f := newFleet(t, withPeers)
			img, err := random.Image(150_000, 20)
			if err != nil {
				t.Fatal(err)
			}
			f.push("app/web:v1", img)
			f.sign("app/web", img, "application/vnd.docker.distribution.manifest.v2+json", "alice@acme.example")
			bad := f.pushReal("app/web:bad", 7)
			m, err := img.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			count := pulls
			if !withPeers {
				count = pulls / 10
			}
			for i := range count {
				heal := f.disturb(len(m.Layers))
				reference := "v1"
				if i%3 == 1 {
					reference = digestOf(t, img).String()
				}
				if err := f.pull(m, reference, i%4 == 3); err != nil {
					t.Fatalf("pull %d: %v", i, err)
				}
				heal()
				if i%20 == 0 {
					for range f.replicas { // each of them
						f.want(f.get("/v2/app/web/blobs/"+layerDigests(t, bad)[0].String()), http.StatusForbidden, codeDenied)
					}
				}
			}
		})
	}
}

// TestReplicas_UntaggedImage: no search finds the manifest, only the replica that has served it knows.
func TestReplicas_UntaggedImage(t *testing.T) {
	for _, withPeers := range []bool{true, false} {
		f := newFleet(t, withPeers)
		img := f.pushReal("app/web:moving", 1)
		f.sign("app/web", img, "", "alice@acme.example")
		f.pushReal("app/web:moving", 2)
		secret := f.pushReal("app/other:v1", 3)
		f.want(f.get("/v2/app/web/manifests/"+digestOf(t, img).String()), http.StatusOK, "")
		ok := 0
		for range f.replicas {
			if r := f.get("/v2/app/web/blobs/" + layerDigests(t, img)[0].String()); r.StatusCode == http.StatusOK {
				ok++
			} else {
				f.want(r, http.StatusServiceUnavailable, codeUnavailable)
			}
		}
		if want := map[bool]int{true: 3, false: 1}[withPeers]; ok != want {
			t.Errorf("peers %v: %d of 3 replicas served the blob, want %d", withPeers, ok, want)
		}
		if r := f.get("/v2/app/web/blobs/" + layerDigests(t, secret)[0].String()); r.StatusCode == http.StatusOK {
			t.Error("the blob of another repository was served")
		}
	}
}

// TestReplicas_PeersGrantNothing: one that was taken over names what it likes. All of it is read from this repository, and judged.
func TestReplicas_PeersGrantNothing(t *testing.T) {
	f := newRealLab(t, true)
	bad, good, other := f.pushReal("app/web:bad", 1), f.pushReal("app/web:good", 2), f.pushReal("app/other:v1", 3)
	f.sign("app/web", good, "", "alice@acme.example")
	f.sign("app/other", other, "", "alice@acme.example")
	known, err := peers.Handler(bytes.Repeat([]byte("s"), 32), f.clock.Now, func(string, v1.Hash) []v1.Hash {
		return []v1.Hash{digestOf(t, bad), digestOf(t, good), digestOf(t, other), tableDigest(1)}
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(known)
	defer server.Close()
	client, err := peers.New(peers.Config{URLs: []string{server.URL}, Secret: bytes.Repeat([]byte("s"), 32), Now: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	f.start(Config{Upstream: f.upstream.URL, LogicalName: "registry.acme.example", Admitter: f.proxy.admitter, Now: f.clock.Now, Peers: client, Logger: f.proxy.logger})
	separate := func(w http.ResponseWriter, r *http.Request) bool { // the test registry keeps all blobs together; others do not
		if strings.HasPrefix(r.URL.Path, "/v2/app/web/manifests/"+digestOf(t, other).String()) {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	f.setLie(separate)
	f.want(f.get("/v2/app/web/blobs/"+layerDigests(t, bad)[0].String()), http.StatusForbidden, codeDenied)
	if r := f.get("/v2/app/web/blobs/" + layerDigests(t, other)[0].String()); r.StatusCode == http.StatusOK {
		t.Error("a blob of another repository was served")
	}
	f.want(f.get("/v2/app/web/blobs/"+layerDigests(t, good)[0].String()), http.StatusOK, "")
}

// TestReplicas_RealClients pull through the balancer while replicas come and go.
func TestReplicas_RealClients(t *testing.T) {
	skopeo := coretest.RequireTool(t, "skopeo")
	policyFile := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(policyFile, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, true)
	img, err := random.Image(150_000, 20)
	if err != nil {
		t.Fatal(err)
	}
	f.push("app/web:v1", img)
	f.sign("app/web", img, "application/vnd.docker.distribution.manifest.v2+json", "alice@acme.example")
	host := strings.TrimPrefix(f.url, "http://")
	pulls := 10
	if testing.Short() {
		pulls = 3
	}
	for i := range pulls {
		heal := f.disturb(20)
		ref := "docker://" + host + "/app/web:v1"
		if i%2 == 1 {
			ref = "docker://" + host + "/app/web@" + digestOf(t, img).String()
		}
		cmd := exec.CommandContext(t.Context(), skopeo, "--policy", policyFile, "copy", "--retry-times=1", "--src-tls-verify=false", ref, "dir:"+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("pull %d: %v\n%s", i, err, out)
		}
		heal()
		heal = f.disturb(20)
		img, err := crane.Pull(host + "/app/web:v1")
		if err == nil {
			err = crane.Save(img, "app/web:v1", filepath.Join(t.TempDir(), "image.tar"))
		}
		if err != nil {
			t.Fatalf("crane, pull %d: %v", i, err)
		}
		heal()
	}
}

package registryproxy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/registry-proxy/cache"
)

// line is the line to the upstream, which can be cut.
type line struct{ cut atomic.Bool }

func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return http.DefaultTransport.RoundTrip(req)
}

// TestOffline_ServesWhatWasAdmittedWhileThePolicyAdmitsIt with the real gate and real evidence.
func TestOffline_ServesWhatWasAdmittedWhileThePolicyAdmitsIt(t *testing.T) {
	for form, referrers := range forms {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(form, ", restart ", restart), func(t *testing.T) {
				dir := t.TempDir()
				const limit = 48 * time.Hour
				line := &line{}
				l := newRealLab(t, referrers, withCache(t, dir, limit), withConfig(func(c *Config) { c.Transport = line }))
				good, never := l.pushReal("app/web:good", 1), l.pushReal("app/web:never", 2)
				index := l.pushRealIndex("app/web:multi", 5)
				l.pushReal("app/web:bad", 3)
				l.sign("app/web", good, "", "alice@acme.example")
				l.sign("app/web", never, "", "alice@acme.example")
				l.sign("app/web", index, "application/vnd.oci.image.index.v1+json", "alice@acme.example")
				child := children(t, index)[0].String()
				img, err := index.Image(children(t, index)[0])
				if err != nil {
					t.Fatal(err)
				}
				paths := []string{
					"/v2/app/web/manifests/good", "/v2/app/web/blobs/" + layerDigests(t, good)[0].String(),
					"/v2/app/web/manifests/multi", "/v2/app/web/manifests/" + child, "/v2/app/web/blobs/" + layerDigests(t, img)[0].String(),
				}
				var bodies [][]byte
				for _, path := range paths {
					r := l.want(l.get(path), http.StatusOK, "")
					if r.Header.Get(headerOffline) != "" {
						t.Errorf("%s is marked as offline", path)
					}
					bodies = append(bodies, r.body)
				}
				l.want(l.get("/v2/app/web/manifests/bad"), http.StatusForbidden, codeDenied)
				for _, d := range append(layerDigests(t, good)[:1], layerDigests(t, img)[0]) {
					waitForFile(t, blobFile(dir, d.String()))
				}

				line.cut.Store(true)
				if restart {
					l.restartWith(dir, limit, line)
				}
				l.clock.Advance(time.Hour) // beyond whatever is remembered
				for i, path := range paths {
					r := l.want(l.get(path), http.StatusOK, "")
					if !bytes.Equal(r.body, bodies[i]) {
						t.Errorf("%s: other bytes", path)
					}
					if strings.Contains(path, "/manifests/") && r.Header.Get(headerOffline) == "" {
						t.Errorf("%s does not say that it is offline", path)
					}
				}
				l.want(l.get("/v2/app/web/manifests/"+digestOf(t, good).String()), http.StatusOK, "") // asked for by tag before
				for _, path := range []string{"bad", "never", "none", digestOf(t, never).String()} {
					l.want(l.get("/v2/app/web/manifests/"+path), http.StatusServiceUnavailable, codeUnavailable)
				}
				if r := l.get("/v2/app/web/blobs/" + layerDigests(t, never)[0].String()); r.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("a blob that was never pulled: %d", r.StatusCode)
				}

				l.clock.Advance(limit) // the upstream's word is too old
				l.want(l.get("/v2/app/web/manifests/good"), http.StatusServiceUnavailable, codeUnavailable)

				line.cut.Store(false)
				l.clock.Advance(outageFresh)
				if r := l.want(l.get("/v2/app/web/manifests/good"), http.StatusOK, ""); r.Header.Get(headerOffline) != "" {
					t.Error("the upstream is back, and the answer is marked as offline")
				}
			})
		}
	}
}

func TestOffline_ThePolicyOfNowDecides(t *testing.T) {
	dir := t.TempDir()
	l := newLab(t, withCache(t, dir, time.Hour))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) })
	l.clock.Advance(tagFresh)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.admitter.revoke(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusForbidden, codeDenied)
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
}

// TestOffline_IsForOutagesOnly: what the upstream says, even that it says nothing to us, is its answer.
func TestOffline_IsForOutagesOnly(t *testing.T) {
	for _, c := range []struct {
		status  int
		offline time.Duration
		want    int
	}{
		{500, time.Hour, 200}, {503, time.Hour, 200}, {502, time.Hour, 200},
		{500, 0, 503}, {503, 0, 503},
		{404, time.Hour, 404}, {401, time.Hour, 502}, {403, time.Hour, 502}, {429, time.Hour, 503},
	} {
		l := newLab(t, withCache(t, t.TempDir(), c.offline))
		img := l.pushImage("app:v1")
		l.admitter.sign(digestOf(t, img))
		l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set(headerOffline, "a lie")
			w.WriteHeader(c.status)
			return true
		})
		l.clock.Advance(tagFresh)
		r := l.get("/v2/app/manifests/v1")
		if r.StatusCode != c.want || strings.Contains(r.Header.Get(headerOffline), "lie") {
			t.Errorf("upstream says %d, offline %v: got %d %s, want %d", c.status, c.offline, r.StatusCode, r.body, c.want)
		}
	}
}

// TestOffline_OutageIsRemembered: clients do not wait for an upstream that is known to be away.
func TestOffline_OutageIsRemembered(t *testing.T) {
	var asked atomic.Int64
	l := newLab(t, withCache(t, t.TempDir(), time.Hour), withConfig(func(c *Config) { c.Transport = counting{&asked} }))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	// A connection that breaks off is no outage: the next request is tried.
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) })
	l.clock.Advance(tagFresh)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.setLie(nil)
	if r := l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, ""); r.Header.Get(headerOffline) != "" {
		t.Error("the upstream was not tried again after one connection broke off")
	}
	l.upstream.Close()
	l.clock.Advance(tagFresh)
	asked.Store(0)
	for range 10 {
		l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	}
	before := asked.Load()
	if before != 1 {
		t.Errorf("the upstream was tried %d times", before)
	}
	l.clock.Advance(outageFresh)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	if asked.Load() == before {
		t.Error("the upstream was not tried again")
	}
}

// TestOffline_ClientsCannotBringItAbout: what they can use up is no outage of the upstream.
func TestOffline_ClientsCannotBringItAbout(t *testing.T) {
	var failing atomic.Pointer[func(*http.Request) error] // what a request comes to, if it is not nil
	l := newLab(t, withCache(t, t.TempDir(), time.Hour), withConfig(func(c *Config) {
		c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			if fail := failing.Load(); fail != nil {
				if err := (*fail)(req); err != nil {
					return nil, err
				}
			}
			return http.DefaultTransport.RoundTrip(req)
		})
	}))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	for _, path := range []string{"/v2/app/manifests/v1", "/v2/app/tags/list"} {
		l.want(l.get(path), http.StatusOK, "") // and kept
	}
	slow := func(req *http.Request) error {
		if strings.HasSuffix(req.URL.Path, "/manifests/v1") {
			l.want(l.get("/v2/app/tags/list"), http.StatusOK, "") // the upstream answers others
			return context.DeadlineExceeded
		}
		return nil
	}
	for name, c := range map[string]struct {
		fail func(*http.Request) error
		want int
	}{
		"no more files may be open": {func(*http.Request) error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
		}, http.StatusServiceUnavailable},
		"the limit of requests": {func(*http.Request) error {
			return fmt.Errorf("%w: %w", errRate, context.DeadlineExceeded)
		}, http.StatusServiceUnavailable},
		"one slow request": {slow, http.StatusServiceUnavailable},
		"silence":          {func(*http.Request) error { return context.DeadlineExceeded }, http.StatusOK},
	} {
		l.clock.Advance(outageFresh)
		failing.Store(&c.fail)
		r := l.get("/v2/app/manifests/v1")
		if r.StatusCode != c.want || (r.Header.Get(headerOffline) != "") != (c.want == http.StatusOK) {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
		failing.Store(nil)
		if r := l.get("/v2/app/tags/list"); (r.Header.Get(headerOffline) != "") != (c.want == http.StatusOK) {
			t.Errorf("after %s, others are answered: %d %s", name, r.StatusCode, r.Header.Get(headerOffline))
		}
	}
}

// A search may read more than is kept of one decision: it takes no room from what the decision leans on.
func TestOffline_SearchesAreNotRecorded(t *testing.T) {
	l := newLab(t, withCache(t, t.TempDir(), time.Hour))
	l.pushIndex("app:v1")
	ctx, rec := l.proxy.recording(t.Context())
	if err := l.proxy.walk(ctx, "app"); err != nil || len(rec.all) != 0 || l.seen("/manifests/") == 0 {
		t.Errorf("%d answers were recorded (%v)", len(rec.all), err)
	}
	if _, fail := l.proxy.fetchManifest(ctx, "app", "v1"); fail != nil || len(rec.all) != 1 {
		t.Errorf("%d answers were recorded (%v)", len(rec.all), fail)
	}
}

// A search, or the questions about a blob, may take all the time that there is for them. What was asked for last had none to answer.
func TestOffline_ATimeLimitOfOursIsNoOutage(t *testing.T) {
	l := newLab(t, withCache(t, t.TempDir(), time.Hour))
	l.admitter.sign(digestOf(t, l.pushImage("app:v1")))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.setLie(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done() // it answers when it is too late
		return false
	})
	short, end := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer end()
	if _, fail := l.proxy.fetchManifest(short, "app", "v1"); fail == nil {
		t.Fatal("the kept answer was given")
	}
	l.setLie(nil)
	l.clock.Advance(tagFresh)
	if r := l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, ""); r.Header.Get(headerOffline) != "" {
		t.Error("the upstream is taken for one that is down")
	}
}

// Repositories may be called what the API's own paths are.
func TestOffline_RepositoriesNamedLikeThePaths(t *testing.T) {
	for path, want := range map[string][2]string{
		"/v2/app/manifests/v1":                 {"app", "manifests/v1"},
		"/v2/x/manifests/y/manifests/v1":       {"x/manifests/y", "manifests/v1"},
		"/v2/x/manifests/y/blobs/sha256:0":     {"x/manifests/y", "blobs/sha256:0"},
		"/v2/x/blobs/y/referrers/sha256:0?a=b": {"x/blobs/y", "referrers/sha256:0?a=b"},
		"/v2/manifests/manifests/blobs":        {"manifests", "manifests/blobs"},
		"/v2/x/tags/list":                      {},
		"/v2/x/manifests/tags/list":            {},
		"/v2/manifests/v1":                     {},
		"/v2/v1":                               {},
		"/v2/":                                 {},
		"/token":                               {},
	} {
		req, err := http.NewRequest(http.MethodGet, "https://registry.example"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		repository, key, ok := (&answers{host: "registry.example"}).question(req)
		if repository != want[0] || key != want[1] || ok != (key != "") {
			t.Errorf("%s: %q %q", path, repository, key)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// counting counts the requests that are tried.
type counting struct{ n *atomic.Int64 }

func (c counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(req)
}

func TestConfigOfTheCache(t *testing.T) {
	kept, err := cache.Open(cache.Config{Dir: t.TempDir(), MaxBytes: cache.MinBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for name, c := range map[string]Config{
		"offline without a cache":      {Offline: time.Hour},
		"offline with clients' rights": {Offline: time.Hour, Cache: kept, PassThrough: true},
		"offline for a negative time":  {Offline: -1, Cache: kept},
	} {
		c.Upstream, c.Admitter = "https://registry.example", &script{}
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "offline") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

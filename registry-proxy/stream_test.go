package registryproxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/coretest"
)

// The tests of this file run in bubbles (testing/synctest), where time goes on when everybody waits. Their limits are written out: what is taken
// from the code would follow wherever it goes.

// bubble is a lab whose connections are pipes in memory.
type bubble struct {
	*lab
	proxied *coretest.Pipes // where clients connect
	client  *http.Transport
	uplink  *http.Transport
}

// newBubble makes a lab in a bubble, until its test ends.
func newBubble(t *testing.T, opts ...labOption) *bubble {
	t.Helper()
	b := &bubble{lab: &lab{t: t, admitter: &script{}, registry: newRegistry(true), logs: &syncBuffer{}}, proxied: coretest.NewPipes()}
	registry := coretest.NewPipes()
	transport := newTransport(nil, nil)
	transport.DialContext = registry.Dial
	config := Config{Upstream: "http://upstream.example", LogicalName: "registry.acme.example", Admitter: b.admitter, Transport: transport, Logger: slog.New(slog.NewJSONHandler(b.logs, nil))}
	for _, o := range opts {
		o(b.lab, &config)
	}
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	b.proxy, b.client, b.uplink = p, &http.Transport{DialContext: b.proxied.Dial}, transport
	upstream, front := &http.Server{Handler: http.HandlerFunc(b.serveUpstream)}, &http.Server{Handler: p.Handler()}
	go func() { _ = upstream.Serve(registry) }()
	go func() { _ = front.Serve(b.proxied) }()
	t.Cleanup(func() {
		b.client.CloseIdleConnections()
		front.Close()
		transport.CloseIdleConnections()
		upstream.Close()
		time.Sleep(time.Hour) // those who sleep in the bubble, which waits for all, wake up
	})
	return b
}

// timed is an answer and how long it took.
func (b *bubble) timed(method, path string) (r reply, took time.Duration) {
	b.t.Helper()
	begin := time.Now()
	req, err := http.NewRequestWithContext(b.t.Context(), method, "http://proxy"+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := b.client.RoundTrip(req)
	if err != nil {
		return reply{err: err, Response: &http.Response{Header: http.Header{}}}, time.Since(begin)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp, body, err}, time.Since(begin)
}

// image puts an image with one layer at a tag, and returns the digests of its manifest and its layer.
func (b *bubble) image(tag string, layer []byte) (manifest, layerDigest v1.Hash) {
	b.t.Helper()
	l := b.putBlob("app", layerType, layer)
	manifest = b.put("app", tag, typeOCIManifest, ociManifest(b.putBlob("app", typeImageConfig, []byte(`{}`)), []descriptor{l}, ""))
	return manifest, l.Digest
}

// slowly is a way of an upstream to take its time.
type slowly func(b *bubble, w http.ResponseWriter, r *http.Request)

var (
	// silent answers nothing.
	silent = func(_ *bubble, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	// headed sends the header of an answer and nothing else.
	headed = func(_ *bubble, w http.ResponseWriter, r *http.Request) { begins(w); <-r.Context().Done() }
	// dripping sends a byte a second.
	dripping = func(_ *bubble, w http.ResponseWriter, r *http.Request) {
		begins(w)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Second) // the drip itself
		}
	}
	// failing sends the header of an error and nothing else.
	failing = func(_ *bubble, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	// withoutToken asks for a token, of which it sends a header and nothing else.
	withoutToken = func(b *bubble, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			headed(b, w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://upstream.example/token",service="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
	// redirecting sends the proxy elsewhere, several times.
	redirecting = func(_ *bubble, w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Second) // how slow it is
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}
)

func begins(w http.ResponseWriter) {
	w.Header().Set("Content-Type", typeOCIManifest)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
}

// slow has the upstream take its time for paths that hold a text, and no other.
func (b *bubble) slow(part string, how slowly) {
	b.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		how(b, w, r)
		return true
	})
}

// hanging are replicas that answer nothing.
type hanging struct{}

// Holders implements Peers.
func (hanging) Holders(ctx context.Context, _ string, _ v1.Hash) []v1.Hash {
	<-ctx.Done()
	return nil
}

// TestPX25_SlowUpstreams: whatever an upstream does not answer, and however, the client is told so in time, as of an outage.
func TestPX25_SlowUpstreams(t *testing.T) {
	t.Parallel()
	const unknown = "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	passedThrough := []labOption{withConfig(func(c *Config) { c.PassThrough = true })}
	withPeers := []labOption{withConfig(func(c *Config) { c.Peers = hanging{} })}
	evidence := func(b *bubble) string {
		bundle := func(n int) descriptor {
			return b.putBlob("app", bundleType, []byte(fmt.Sprintf(`{"mediaType":%q,"n":%d}`, bundleType, n)))
		}
		b.put("app", "evidence", typeOCIManifest, ociManifest(b.putBlob("app", typeEmptyConfig, []byte(`{}`)), []descriptor{bundle(1), bundle(2), bundle(3)},
			fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":1}`, bundleType, typeDockerManifest, unknown)))
		return "manifests/evidence"
	}
	tag := func(*bubble) string { return "manifests/v1" }
	layer := func(b *bubble) string {
		manifest, layer := b.image("v1", []byte("layer"))
		if r, _ := b.timed("GET", "/v2/app/manifests/"+manifest.String()); r.StatusCode != http.StatusOK && !b.proxy.upstream.passThrough {
			b.t.Fatalf("%d %s", r.StatusCode, r.body)
		}
		return "blobs/" + layer.String()
	}
	unsigned := func(b *bubble) string {
		for i := range 200 {
			b.put("app", fmt.Sprintf("other%d", i), typeOCIManifest, []byte(imageWith(fmt.Sprintf(`,"annotations":{"n":"%d"}`, i))))
		}
		return "manifests/" + b.put("app", "unsigned", typeOCIManifest, []byte(imageWith(""))).String()
	}
	late := func(after time.Duration) slowly {
		return func(b *bubble, w http.ResponseWriter, r *http.Request) {
			time.Sleep(after) // how late it is
			b.registry.ServeHTTP(w, r)
		}
	}
	for _, c := range []struct {
		name  string
		asked func(*bubble) string // prepares, and says for what
		part  string               // of the upstream's paths that are slow
		how   slowly
		after time.Duration
		opts  []labOption
	}{
		{"a handshake", tag, "/v2/", silent, 30 * time.Second, nil},
		{"a tag", tag, "/manifests/", silent, 30 * time.Second, nil},
		{"a manifest after its header", tag, "/manifests/", headed, 30 * time.Second, nil},
		{"a manifest that never ends", tag, "/manifests/", dripping, 30 * time.Second, nil},
		{"a list of tags", func(*bubble) string { return "tags/list" }, "/tags/", silent, 30 * time.Second, nil},
		{"a list of tags that never ends", func(*bubble) string { return "tags/list" }, "/tags/", dripping, 30 * time.Second, nil},
		{"referrers", func(*bubble) string { return "referrers/" + unknown }, "/referrers/", silent, 30 * time.Second, nil},
		{"referrers on many slow pages", func(*bubble) string { return "referrers/" + unknown }, "/referrers/", func(_ *bubble, w http.ResponseWriter, r *http.Request) {
			time.Sleep(25 * time.Second) // how slow each page is
			w.Header().Set("Link", `<?n=1&last=`+time.Now().Format("150405")+`>; rel="next"`)
			w.Header().Set("Content-Type", typeOCIIndex)
			_, _ = io.WriteString(w, `{"schemaVersion":2,"mediaType":"`+typeOCIIndex+`","manifests":[]}`)
		}, time.Minute, nil},
		{"a blob", layer, "/blobs/", silent, 30 * time.Second, nil},
		{"a blob after its header", layer, "/blobs/", headed, time.Minute, nil},
		{"evidence", evidence, "/blobs/", silent, 30 * time.Second, nil},
		{"evidence that never ends", evidence, "/blobs/", dripping, 30 * time.Second, nil},
		{"evidence in slow pieces", evidence, "/blobs/", late(20 * time.Second), 30 * time.Second, nil},
		{"a blob that no manifest lists", func(*bubble) string { return "blobs/" + unknown }, "/blobs/", silent, 30 * time.Second, nil},
		{"such a blob, and replicas that hang", func(*bubble) string { return "blobs/" + unknown }, "/blobs/", silent, 30 * time.Second, withPeers},
		{"a search", unsigned, "/manifests/other", late(9 * time.Second), 20 * time.Second, nil},
		{"replicas and a search", unsigned, "/manifests/other", late(9 * time.Second), 30 * time.Second, withPeers},
		{"a manifest behind slow redirects", tag, "/manifests/", redirecting, 30 * time.Second, nil},
		{"a handshake that fails and never ends", tag, "/v2/", failing, 30 * time.Second, nil},
		{"a token that never comes", tag, "/", withoutToken, 30 * time.Second, nil},
		{"a blob behind slow redirects", layer, "/blobs/", redirecting, 30 * time.Second, nil},
		{"a blob's size behind slow redirects", func(b *bubble) string { return "HEAD " + layer(b) }, "/blobs/", redirecting, 30 * time.Second, nil},
		{"a login that fails and never ends, passed through", func(*bubble) string { return "" }, "/v2/", failing, 30 * time.Second, passedThrough},
		{"a manifest, passed through", tag, "/manifests/", silent, 30 * time.Second, passedThrough},
		{"a blob, passed through", layer, "/blobs/", silent, 30 * time.Second, passedThrough},
		{"a login, passed through", func(*bubble) string { return "" }, "/v2/", silent, 30 * time.Second, passedThrough},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, c.opts...)
				manifest, _ := b.image("v1", []byte("layer"))
				b.admitter.sign(manifest)
				method, asked := "GET", c.asked(b)
				if rest, ok := strings.CutPrefix(asked, "HEAD "); ok {
					method, asked = "HEAD", rest
				}
				path := strings.TrimSuffix("/v2/app/"+asked, "app/") // nothing is asked for by a login
				b.slow(c.part, c.how)
				r, took := b.timed(method, path)
				if r.StatusCode != http.StatusServiceUnavailable || method == "GET" && r.code() != codeUnavailable || r.Header.Get("Retry-After") == "" || took > c.after || took < c.after-time.Second {
					t.Errorf("after %v, want %v: %d %s %v", took, c.after, r.StatusCode, r.body, r.err)
				}
				b.setLie(nil)
				if r, took := b.timed("GET", "/v2/app/manifests/v1"); r.StatusCode != http.StatusOK || took > time.Second {
					t.Errorf("when it is well again: %d %s after %v", r.StatusCode, r.body, took)
				}
			})
		})
	}
}

// TestPX25_ReachingASlowUpstream: whoever asks whether an upstream is there is told in time.
func TestPX25_ReachingASlowUpstream(t *testing.T) {
	t.Parallel()
	for _, passThrough := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t)
			c := Config{Upstream: "http://upstream.example", Transport: b.uplink, PassThrough: passThrough}
			if err := Reach(t.Context(), c); err != nil {
				t.Error(err)
			}
			b.slow("/v2/", failing)
			begin := time.Now()
			if err := Reach(t.Context(), c); err == nil || time.Since(begin) != 30*time.Second {
				t.Errorf("passed through %v: %v after %v", passThrough, err, time.Since(begin))
			}
		})
	}
}

// TestPX25_BlobsThatStall: a blob has no limit as a whole, and a minute for each piece of it, with and without a cache.
func TestPX25_BlobsThatStall(t *testing.T) {
	t.Parallel()
	for pause, whole := range map[time.Duration]bool{59 * time.Second: true, 61 * time.Second: false} {
		for _, size := range []int{100, 2 << 20} {
			for _, cached := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d bytes, %v, cached %v", size, pause, cached), func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					synctest.Test(t, func(t *testing.T) {
						var opts []labOption
						if cached {
							opts = append(opts, withCache(t, dir, 0))
						}
						b := newBubble(t, opts...)
						layer := []byte(strings.Repeat("x", size))
						manifest, digest := b.image("v1", layer)
						b.admitter.sign(manifest)
						b.want(first(b.timed("GET", "/v2/app/manifests/v1")), http.StatusOK, "")
						const pieces = 50
						b.slow("/blobs/", func(_ *bubble, w http.ResponseWriter, r *http.Request) {
							for i := range pieces {
								_, _ = w.Write(layer[i*size/pieces : (i+1)*size/pieces])
								_ = http.NewResponseController(w).Flush()
								time.Sleep(pause) // how slow each piece is
							}
						})
						r, took := b.timed("GET", "/v2/app/blobs/"+digest.String())
						switch got := r.err == nil && r.StatusCode == http.StatusOK && len(r.body) == size; {
						case got != whole, whole && took < (pieces-1)*pause:
							t.Errorf("%d, %d bytes after %v: %v", r.StatusCode, len(r.body), took, r.err)
						case !whole && took != time.Minute:
							t.Errorf("it was given up after %v", took)
						}
					})
				})
			}
		}
	}
}

func first(r reply, _ time.Duration) reply { return r }

// TestPX27_SlowReaders: whoever asks for something and does not read it, or slowly, is cut off in time, and whoever is a little faster gets it.
func TestPX27_SlowReaders(t *testing.T) {
	t.Parallel()
	const size, step = 2 << 20, 512 << 10
	for _, c := range []struct {
		name   string
		what   string
		cached bool
		each   int           // bytes that are read at a time
		pause  time.Duration // before each
		after  time.Duration // when it is cut off; 0 is never
	}{
		{"a blob, not at all", "blobs/LAYER", false, 1, time.Hour, time.Minute},
		{"a blob from the cache, not at all", "blobs/LAYER", true, 1, time.Hour, time.Minute},
		{"a blob, byte by byte", "blobs/LAYER", false, 1, time.Second, time.Minute},
		{"a blob from the cache, byte by byte", "blobs/LAYER", true, 1, time.Second, time.Minute},
		{"a blob, in time", "blobs/LAYER", false, step, 29 * time.Second, 0}, // which lie across those that are written
		{"a blob from the cache, in time", "blobs/LAYER", true, step, 29 * time.Second, 0},
		{"a large manifest, not at all", "manifests/large", false, 1, time.Hour, 26 * time.Second},
		{"a large manifest, byte by byte", "manifests/large", false, 1, time.Second, 26 * time.Second},
		{"a large manifest, in time", "manifests/large", false, 128 << 10, time.Second, 0},
		{"a manifest, not at all", "manifests/v1", false, 1, time.Hour, 10 * time.Second},
		{"a manifest, in time", "manifests/v1", false, 4 << 10, 9 * time.Second, 0},
		{"a refusal, not at all", "manifests/missing", false, 1, time.Hour, 110 * time.Second},
		{"a refusal, in time", "manifests/missing", false, 4 << 10, 100 * time.Second, 0},
		{"what is no path, not at all", "nonsense", false, 1, time.Hour, 110 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var opts []labOption
				if c.cached {
					opts = append(opts, withCache(t, dir, 0))
				}
				b := newBubble(t, opts...)
				manifest, layer := b.image("v1", []byte(strings.Repeat("x", size)))
				large := []byte(imageWith(`,"annotations":{"n":"` + strings.Repeat("x", size) + `"}`))
				b.admitter.sign(manifest, b.put("app", "large", typeOCIManifest, large))
				for _, path := range []string{"manifests/v1", "blobs/" + layer.String()} { // which fills the cache
					b.want(first(b.timed("GET", "/v2/app/"+path)), http.StatusOK, "")
				}
				b.slow("/blobs/", silent)
				if !c.cached {
					b.setLie(nil)
				}
				conn, err := b.proxied.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				begin := time.Now()
				if _, err := fmt.Fprintf(conn, "GET /v2/app/%s HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n", strings.Replace(c.what, "LAYER", layer.String(), 1)); err != nil {
					t.Fatal(err)
				}
				go func() {
					for buf := make([]byte, c.each); ; {
						select {
						case <-time.After(c.pause):
						case <-conn.Closed:
							return
						}
						if _, err := io.ReadFull(conn, buf); err != nil {
							return
						}
					}
				}()
				<-conn.Closed
				took := time.Since(begin)
				synctest.Wait() // the line about it may come later
				cut := strings.Contains(b.logs.String(), "cut off")
				switch {
				case c.after > 0 && (took < c.after || took > c.after+time.Second):
					t.Errorf("it was cut off after %v, want %v", took, c.after)
				case strings.HasPrefix(c.what, "blobs") && cut != (c.after > 0):
					t.Errorf("the log says after %v that it was cut off: %v", took, cut)
				}
			})
		})
	}
}

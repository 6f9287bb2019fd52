package registryproxy

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/cache"
)

var distributionListens = regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)

// distribution starts distribution 3, as integration/tools.sh installs it; more is for its configuration file.
func distribution(b *testing.B, more string) (address string) {
	b.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(home, ".cache/touchmark/tools/registry-v3.1.2")
	if _, err := os.Stat(program); err != nil {
		b.Skipf("%v: integration/tools.sh installs it", err)
	}
	dir := b.TempDir()
	file := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\", secret: x}\n%s", filepath.Join(dir, "data"), more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, "serve", file)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := distributionListens.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
				break
			}
		}
		io.Copy(io.Discard, stderr)
	}()
	select {
	case address = <-found:
		return address
	case <-time.After(20 * time.Second):
		b.Fatal("distribution does not say where it listens")
	}
	return ""
}

// bench is one image in distribution, served by it, by another one as its pull-through cache, and by this proxy.
type bench struct {
	image    v1.Image
	urls     [][2]string // name and URL
	sigstore *coretest.Sigstore
	clock    *coretest.Clock
}

func newBench(b *testing.B, layer int64, kept bool) *bench {
	b.Helper()
	direct := distribution(b, "")
	pullThrough := distribution(b, fmt.Sprintf("proxy: {remoteurl: \"http://%s\"}\n", direct))
	sigstore, clock := coretest.New(b), coretest.NewClock(time.Now())
	l := &lab{t: b, logs: &syncBuffer{}, clock: clock, upstream: &httptest.Server{URL: "http://" + direct}}
	r := &realLab{l, sigstore}
	c := Config{
		Upstream: "http://" + direct, LogicalName: "registry.acme.example", Admitter: realGate(b, sigstore, clock),
		Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)), // as the command writes it
	}
	if kept {
		store, err := cache.Open(cache.Config{Dir: b.TempDir(), MaxBytes: 4 << 30})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { store.Close() })
		c.Cache = store
	}
	l.start(c)
	img := coretest.Image(b, 1)
	if layer > 0 {
		body := make([]byte, layer)
		for n := 0; n < len(body); n += len(patternBlock) {
			copy(body[n:], patternBlock)
		}
		var err error
		if img, err = mutate.AppendLayers(empty.Image, static.NewLayer(body, types.DockerLayer)); err != nil {
			b.Fatal(err)
		}
	}
	ref, err := name.ParseReference(direct+"/app/web:v1", name.Insecure)
	if err != nil {
		b.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		b.Fatal(err)
	}
	mediaType, err := img.MediaType()
	if err != nil {
		b.Fatal(err)
	}
	r.sign("app/web", img, string(mediaType), "alice@acme.example")
	return &bench{image: img, sigstore: sigstore, clock: clock, urls: [][2]string{
		{"distribution", "http://" + direct}, {"distribution as pull-through cache", "http://" + pullThrough}, {"touchmark", l.url},
	}}
}

// BenchmarkManifest: 16 clients, and all servers on this machine.
func BenchmarkManifest(b *testing.B) {
	m := newBench(b, 0, false)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	b.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	for _, reference := range []string{"v1", digestOf(b, m.image).String()} {
		kind := "tag"
		if reference != "v1" {
			kind = "digest"
		}
		for _, u := range m.urls {
			b.Run(kind+"/"+u[0], func(b *testing.B) {
				work := make(chan struct{})
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for range work {
							req, _ := http.NewRequest(http.MethodGet, u[1]+"/v2/app/web/manifests/"+reference, nil)
							req.Header.Set("Accept", acceptManifests)
							resp, err := client.Do(req)
							if err != nil {
								b.Error(err)
								continue
							}
							io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
							if resp.StatusCode != http.StatusOK {
								b.Error(resp.StatusCode)
							}
						}
					})
				}
				for b.Loop() {
					work <- struct{}{}
				}
				close(work)
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "manifests/s")
			})
		}
	}
}

// BenchmarkColdDecision is the time from nothing to a served manifest, of which the rest is waiting for the registry.
func BenchmarkColdDecision(b *testing.B) {
	m := newBench(b, 0, false)
	var waited time.Duration
	for b.Loop() {
		b.StopTimer()
		spy := &spying{next: http.DefaultTransport}
		p, err := New(Config{
			Upstream: m.urls[0][1], LogicalName: "registry.acme.example", Transport: spy, Logger: slog.New(slog.DiscardHandler),
			Admitter: realGate(b, m.sigstore, m.clock),
		})
		if err != nil {
			b.Fatal(err)
		}
		rec := &recorder{header: http.Header{}}
		req, _ := http.NewRequest(http.MethodGet, "http://proxy/v2/app/web/manifests/v1", nil)
		req.RemoteAddr = "192.0.2.1:1"
		handler := p.Handler()
		b.StartTimer()
		handler.ServeHTTP(rec, req)
		if rec.status != http.StatusOK {
			b.Fatal(rec.status, rec.body.String())
		}
		waited += spy.waited()
	}
	b.ReportMetric(float64((b.Elapsed()-waited).Microseconds())/1000/float64(b.N), "own-ms/op")
}

// spying adds up the time in which any request is under way.
type spying struct {
	next http.RoundTripper

	mu    sync.Mutex
	open  int
	since time.Time
	total time.Duration
}

// RoundTrip implements http.RoundTripper.
func (s *spying) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if s.open++; s.open == 1 {
		s.since = time.Now()
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open--; s.open == 0 {
			s.total += time.Since(s.since)
		}
	}()
	return s.next.RoundTrip(req)
}

func (s *spying) waited() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// BenchmarkBlob reads a large layer: through a proxy that does nothing else, through this one, and from both kinds of cache. CPU is this
// process's: the client's part is in all of them, the registry's in none.
func BenchmarkBlob(b *testing.B) {
	const size = 256 << 20
	m := newBench(b, size, false)
	kept := newBench(b, size, true)
	target, err := url.Parse(m.urls[0][1])
	if err != nil {
		b.Fatal(err)
	}
	plain := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, BufferPool: pool{}})
	b.Cleanup(plain.Close)
	digest := layerDigests(b, m.image)[0]
	for _, c := range [][2]string{
		m.urls[0], {"plain proxy", plain.URL}, {"touchmark", m.url()}, kept.urls[1], {"touchmark from cache", kept.url()},
	} {
		b.Run(c[0], func(b *testing.B) {
			get := func(path string) {
				req, _ := http.NewRequest(http.MethodGet, c[1]+path, nil)
				req.Header.Set("Accept", acceptManifests)
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				defer resp.Body.Close()
				if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 256<<10)); err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp.StatusCode, n, err)
				}
			}
			get("/v2/app/web/manifests/v1")
			get("/v2/app/web/blobs/" + digest.String()) // warm, where there is something to be warm
			before := cpu(b)
			b.SetBytes(size)
			for b.Loop() {
				get("/v2/app/web/blobs/" + digest.String())
			}
			b.ReportMetric((cpu(b)-before).Seconds()*(1<<30)/size/float64(b.N), "cpu-s/GiB")
		})
	}
	b.Run("SHA-256 alone", func(b *testing.B) {
		before := cpu(b)
		b.SetBytes(size)
		for b.Loop() {
			patternDigest(b, size)
		}
		b.ReportMetric((cpu(b)-before).Seconds()*(1<<30)/size/float64(b.N), "cpu-s/GiB")
	})
}

func (m *bench) url() string { return m.urls[2][1] }

// pool gives the plain proxy buffers of the size that this one uses.
type pool struct{}

func (pool) Get() []byte  { return make([]byte, 64<<10) }
func (pool) Put(_ []byte) {}

// cpu is what this process has used, its own and the kernel's time for it.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package registryproxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/registry-proxy/blob"
	"github.com/touchmark/touchmark/registry-proxy/cache"
)

// withCache gives a lab's proxy a cache, which is closed with the test.
func withCache(t testing.TB, dir string, offline time.Duration) labOption {
	return withConfig(func(c *Config) {
		kept, err := cache.Open(cache.Config{Dir: dir, MaxBytes: cache.MinBytes, Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kept.Close() })
		c.Cache, c.Offline = kept, offline
	})
}

// restartWith replaces the proxy with one that knows what the cache in dir has kept, and nothing else.
func (l *lab) restartWith(dir string, offline time.Duration, transport http.RoundTripper) {
	l.t.Helper()
	l.proxy.cache.Close()
	kept, err := cache.Open(cache.Config{Dir: dir, MaxBytes: cache.MinBytes, Now: l.clock.Now})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { kept.Close() })
	l.start(Config{
		Upstream: l.upstream.URL, LogicalName: "registry.acme.example", Admitter: l.proxy.admitter, Logger: l.proxy.logger, Now: l.clock.Now,
		Cache: kept, Offline: offline, Transport: transport,
	})
}

// blobFile is where the cache keeps a blob.
func blobFile(dir, digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(dir, "blobs", hex[:2], hex)
}

func waitForFile(t *testing.T, file string) {
	t.Helper()
	waitFor(t, func() bool { _, err := os.Stat(file); return err == nil })
}

func TestPX28_OneFetchPerBlobWithACache(t *testing.T) {
	dir := t.TempDir()
	l := newLab(t, withCache(t, dir, 0))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	path := "/v2/app/blobs/" + layerDigests(t, img)[0].String()
	l.seen("")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { l.want(l.get(path), http.StatusOK, "") })
	}
	wg.Wait()
	l.want(l.get(path), http.StatusOK, "")
	if r := l.do(http.MethodHead, path); r.StatusCode != http.StatusOK || r.ContentLength <= 0 {
		t.Errorf("HEAD: %d", r.StatusCode)
	}
	if n := l.seen("/blobs/"); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestPX06_PX21_CacheHasNothingForOtherRepositories: a manifest may list what its own repository does not hold, and be admitted, or only observed.
func TestPX06_PX21_CacheHasNothingForOtherRepositories(t *testing.T) {
	for _, observe := range []bool{false, true} {
		dir := t.TempDir()
		l := newLab(t, withCache(t, dir, time.Hour), withConfig(func(c *Config) { c.Observe = observe }))
		img, own := l.pushImage("secret:v1"), l.pushImage("thief:own")
		l.admitter.sign(digestOf(t, img), digestOf(t, own))
		raw, err := img.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		stolen := layerDigests(t, img)[0].String()
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/v2/thief/manifests/v1", "/v2/thief/manifests/" + digestOf(t, img).String():
				w.Header().Set("Content-Type", typeDockerManifest)
				w.Write(raw)
				return true
			case "/v2/thief/blobs/" + stolen:
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			return false
		})
		l.want(l.get("/v2/secret/manifests/v1"), http.StatusOK, "")
		l.want(l.get("/v2/secret/blobs/"+stolen), http.StatusOK, "")
		waitForFile(t, blobFile(dir, stolen))
		l.want(l.get("/v2/thief/manifests/v1"), http.StatusOK, "")
		for _, h := range [][]string{nil, {"Range", "bytes=0-9"}} {
			l.want(l.get("/v2/thief/blobs/"+stolen, h...), http.StatusNotFound, codeBlobUnknown)
		}
		if r := l.do(http.MethodHead, "/v2/thief/blobs/"+stolen); r.StatusCode != http.StatusNotFound {
			t.Errorf("HEAD: %d", r.StatusCode)
		}
		l.upstream.Close() // what it has not said before the outage, it does not say
		if r := l.get("/v2/thief/blobs/" + stolen); r.StatusCode == http.StatusOK {
			t.Errorf("during an outage: %d", r.StatusCode)
		}
		l.clock.Advance(2 * digestFresh)
		l.want(l.get("/v2/secret/manifests/v1"), http.StatusOK, "")
		l.want(l.get("/v2/secret/blobs/"+stolen), http.StatusOK, "")
	}
}

// TestPX05_PX06_PX21_CacheGrantsNothing: bytes are kept by digest, and served only where a manifest that is admitted now lists them.
func TestPX05_PX06_PX21_CacheGrantsNothing(t *testing.T) {
	dir := t.TempDir()
	l := newLab(t, withCache(t, dir, 0))
	img := l.pushImage("app:v1")
	l.push("other:v1", img)
	l.admitter.sign(digestOf(t, img))
	layer := layerDigests(t, img)[0].String()
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.want(l.get("/v2/app/blobs/"+layer), http.StatusOK, "")
	waitForFile(t, blobFile(dir, layer))
	if r := l.get("/v2/nothing/blobs/" + layer); r.StatusCode == http.StatusOK {
		t.Error("a repository that does not list it")
	}
	l.pushImage("nothing:v1")
	if r := l.get("/v2/nothing/blobs/" + layer); r.StatusCode == http.StatusOK {
		t.Error("a repository that holds something else")
	}
	l.want(l.get("/v2/other/blobs/"+layer), http.StatusOK, "") // the twin: found by its tag, admitted there, too
	l.admitter.revoke(digestOf(t, img))                        // PX-22
	for _, path := range []string{"/v2/app/blobs/" + layer, "/v2/app/manifests/v1", "/v2/app/manifests/" + digestOf(t, img).String(), "/v2/other/blobs/" + layer} {
		l.want(l.get(path), http.StatusForbidden, codeDenied)
		l.want(l.get(path, "Range", "bytes=0-9"), http.StatusForbidden, codeDenied)
		if r := l.do(http.MethodHead, path); r.StatusCode != http.StatusForbidden {
			t.Errorf("HEAD %s: %d", path, r.StatusCode)
		}
	}
	l.restartWith(dir, 0, nil)
	l.want(l.get("/v2/app/blobs/"+layer), http.StatusForbidden, codeDenied)
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/blobs/"+layer), http.StatusOK, "")
}

func TestPX11_RangesWithACache(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			l, path, layer := hostileBlob(t, 1<<20, nil, withCache(t, t.TempDir(), 0))
			l.setLie(nil)
			if kept {
				l.want(l.get(path), http.StatusOK, "")
			}
			etag := `"` + strings.TrimPrefix(path, "/v2/app/blobs/") + `"`
			for _, c := range []struct {
				header, condition string
				status, from, to  int
			}{
				{"bytes=0-99", "", 206, 0, 99},
				{"bytes=1000000-", "", 206, 1000000, len(layer) - 1},
				{"bytes=-10", "", 206, len(layer) - 10, len(layer) - 1},
				{"bytes=5-1000000", "", 206, 5, 1000000},
				{"bytes=5-10", etag, 206, 5, 10},
				{"bytes=5-10", `"x"`, 200, 0, len(layer) - 1},
				{"bytes=5-10", "W/" + etag, 200, 0, len(layer) - 1},
				{"bytes=5-10", "Mon, 23 Nov 2026 00:00:00 GMT", 200, 0, len(layer) - 1},
				{"bytes=0-1,5-6", "", 200, 0, len(layer) - 1},
				{"bytes=0-", "", 200, 0, len(layer) - 1},
				{"bytes=1048576-", "", 416, 0, 0},
			} {
				headers := []string{"Range", c.header}
				if c.condition != "" {
					headers = append(headers, "If-Range", c.condition)
				}
				r := l.get(path, headers...)
				if r.StatusCode != c.status || c.status < 300 && !bytes.Equal(r.body, layer[c.from:c.to+1]) {
					t.Errorf("%s %s: %d, %d bytes, %v", c.header, c.condition, r.StatusCode, len(r.body), r.err)
				}
				if want := fmt.Sprintf("bytes %d-%d/%d", c.from, c.to, len(layer)); c.status == 206 && r.Header.Get("Content-Range") != want {
					t.Errorf("%s: Content-Range %s", c.header, r.Header.Get("Content-Range"))
				}
			}
		})
	}
	// An upstream that has the asked-for range right and the whole wrong: with a cache nothing of it leaves.
	l, path, layer := hostileBlob(t, 1<<20, func(w http.ResponseWriter, layer []byte) {
		wrong := bytes.Clone(layer)
		wrong[len(wrong)/2] ^= 1
		w.Write(wrong)
	}, withCache(t, t.TempDir(), 0))
	l.want(l.get(path, "Range", "bytes=0-99"), http.StatusBadGateway, codeDigestInvalid)
	l.setLie(nil)
	if r := l.get(path, "Range", "bytes=0-99"); r.StatusCode != 206 || !bytes.Equal(r.body, layer[:100]) {
		t.Errorf("the twin: %d", r.StatusCode)
	}
}

func TestPX24_DamagedCacheIsRefetched(t *testing.T) {
	for _, restart := range []bool{false, true} {
		dir := t.TempDir()
		l := newLab(t, withCache(t, dir, 0))
		img := l.pushImage("app:v1")
		l.admitter.sign(digestOf(t, img))
		layer := layerDigests(t, img)[0].String()
		l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
		good := l.want(l.get("/v2/app/blobs/"+layer), http.StatusOK, "")
		waitForFile(t, blobFile(dir, layer))
		wrong := bytes.Clone(good.body)
		wrong[len(wrong)-1] ^= 1
		if err := os.WriteFile(blobFile(dir, layer), wrong, 0o600); err != nil {
			t.Fatal(err)
		}
		if restart {
			l.restartWith(dir, 0, nil)
		}
		for _, header := range []string{"bytes=0-", "bytes=5-10"} {
			r := l.get("/v2/app/blobs/"+layer, "Range", header)
			if r.err != nil || !bytes.Contains(good.body, r.body) || len(r.body) == 0 {
				t.Errorf("restart %v, %s: %d, %d bytes, %v", restart, header, r.StatusCode, len(r.body), r.err)
			}
		}
	}
}

// TestPX30_CacheThatCannotBeWritten stops no pull.
func TestPX30_CacheThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	l := newLab(t, withCache(t, dir, time.Hour))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	if err := os.RemoveAll(filepath.Join(dir, "partial")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
		for _, d := range layerDigests(t, img) {
			r := l.want(l.get("/v2/app/blobs/"+d.String()), http.StatusOK, "")
			if sum(r.body) != d || r.err != nil {
				t.Errorf("%d bytes, %v", len(r.body), r.err)
			}
			r = l.get("/v2/app/blobs/"+d.String(), "Range", "bytes=10-19")
			if r.StatusCode != 206 && r.StatusCode != 200 || r.err != nil {
				t.Errorf("range: %d, %v", r.StatusCode, r.err)
			}
		}
	}
}

// TestA085_64StreamsAtOnce: memory does not grow with the size of layers, with a cache or without.
func TestA085_64StreamsAtOnce(t *testing.T) {
	size := int64(32 << 20)
	if testing.Short() {
		size = 4 << 20
	}
	for _, withKept := range []bool{false, true} {
		t.Run(fmt.Sprintf("cache %v", withKept), func(t *testing.T) {
			opts := []labOption{withConfig(func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })}
			if withKept {
				opts = append(opts, withCache(t, t.TempDir(), 0))
			}
			l := newLab(t, opts...)
			digest := patternDigest(t, size)
			config := l.putBlob("app", typeImageConfig, []byte(`{}`))
			layer := descriptor{MediaType: layerType, Digest: digest, Size: size, UntrustedDigest: digest.String()}
			l.admitter.sign(l.put("app", "v1", typeOCIManifest, ociManifest(config, []descriptor{layer}, "")))
			l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, digest.String()) {
					return false
				}
				w.Header().Set("Content-Length", fmt.Sprint(size))
				io.CopyBuffer(struct{ io.Writer }{w}, &pattern{size: size}, make([]byte, blob.Tail))
				return true
			})
			l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
			l.seen("")
			memory := func() int64 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapInuse + m.StackInuse)
			}
			runtime.GC()
			before := memory()
			var peak atomic.Int64
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					resp, err := http.Get(l.url + "/v2/app/blobs/" + digest.String())
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					sum := sha256.New()
					if _, err := io.CopyN(sum, resp.Body, size/2); err != nil {
						t.Error(err)
					}
					if now := memory(); now > peak.Load() {
						peak.Store(now)
					}
					if _, err := io.Copy(sum, resp.Body); err != nil || hex.EncodeToString(sum.Sum(nil)) != digest.Hex {
						t.Error("wrong", err)
					}
				})
			}
			wg.Wait()
			t.Logf("memory grew by %d MiB, clients and upstream included", (peak.Load()-before)>>20)
			if peak.Load()-before > 100<<20 {
				t.Errorf("memory grew by %d MiB", (peak.Load()-before)>>20)
			}
			if n := l.seen("/blobs/"); withKept && n != 1 {
				t.Errorf("%d fetches", n)
			}
		})
	}
}

package registryproxy

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func BenchmarkProxyManifestWarm(b *testing.B) {
	l := newRealLab(b, true)
	l.proxy.logger = slog.New(slog.DiscardHandler)
	img := l.pushReal("app/web:v1", 1)
	l.sign("app/web", img, "", "alice@acme.example")
	raw := rawManifest(b, img)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	b.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	for _, c := range []struct{ name, url string }{
		{"tag", l.url + "/v2/app/web/manifests/v1"},
		{"digest", l.url + "/v2/app/web/manifests/" + digestOf(b, img).String()},
		{"upstream", l.upstream.URL + "/v2/app/web/manifests/v1"}, // the same client on the registry itself, for comparison
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetParallelism(8) // 16 clients on two cores
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Get(c.url)
					if err != nil {
						b.Error(err)
						return
					}
					n, _ := io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK || n != int64(len(raw)) {
						b.Error(resp.StatusCode, n)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "manifests/s")
		})
	}
}

func BenchmarkProxyBlob(b *testing.B) {
	const size = 256 << 20
	digest := patternDigest(b, size)
	l := newLab(b, withConfig(func(c *Config) { c.Logger = nil }))
	config := l.putBlob("app", typeImageConfig, []byte(`{}`))
	layer := descriptor{MediaType: layerType, Digest: digest, Size: size, UntrustedDigest: digest.String()}
	l.admitter.sign(l.put("app", "v1", typeOCIManifest, ociManifest(config, []descriptor{layer}, "")))
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digest.String()) {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		io.Copy(w, &pattern{size: size})
		return true
	})
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	for name, url := range map[string]string{"proxy": l.url, "upstream": l.upstream.URL} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				resp, err := http.Get(url + "/v2/app/blobs/" + digest.String())
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
					b.Fatal(n, err)
				}
				resp.Body.Close()
			}
		})
	}
}

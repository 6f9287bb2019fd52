package registryproxy

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/blob"
	"github.com/touchmark/touchmark/registry-proxy/cache"
)

// canary is in every manifest that is not signed, and in the last 64 KiB of every wrong blob.
const canary = "CANARY-7f3a"

// hostile is an upstream that does what it can to have something else served than what is signed. It is a RoundTripper, so that a million of
// its answers take minutes.
type hostile struct {
	manifests map[string]served // by digest: right, but most are not signed
	good      []string          // digests of signed manifests
	bad       []string
	blobs     map[string][]byte // right ones, by digest
	flips     atomic.Int64
	attacks   [64]atomic.Int64
}

type served struct {
	mediaType string
	body      []byte
}

const hostileHost = "upstream.example"

func newHostile(admitter *script) *hostile {
	h := &hostile{manifests: map[string]served{}, blobs: map[string][]byte{}}
	config := h.blob([]byte(`{"architecture":"amd64","os":"linux","config":{"Cmd":["/app"]},"rootfs":{"type":"layers","diff_ids":[]}}`), typeImageConfig)
	for i, size := range []int{100, 5000, blob.Tail, blob.Tail + 1, 200_000} {
		layer := h.blob(bytes.Repeat([]byte{byte('a' + i)}, size), layerType)
		good := h.manifest(typeOCIManifest, ociManifest(config, []descriptor{layer}, ""))
		h.good = append(h.good, good.String())
		index := h.manifest(typeOCIIndex, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
			typeOCIIndex, typeOCIManifest, good, len(h.manifests[good.String()].body)))
		h.good = append(h.good, index.String())
		admitter.sign(good, index)

		secret := h.blob(append(bytes.Repeat([]byte{byte('A' + i)}, size), canary...), layerType)
		as := func(d descriptor, mediaType string) descriptor { d.MediaType = mediaType; return d }
		note := `,"annotations":{"note":"` + canary + `"}`
		subject := fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":1}`, bundleType, typeOCIManifest, good)
		for _, body := range [][]byte{
			ociManifest(config, []descriptor{secret}, note),
			ociManifest(config, []descriptor{layer}, note),                        // a signed image's layers under another manifest
			ociManifest(config, []descriptor{secret}, note+subject),               // dressed as evidence
			ociManifest(config, []descriptor{as(secret, bundleType)}, note),       // and better
			ociManifest(config, []descriptor{as(layer, simpleSigningType)}, note), // over layers that may leave
		} {
			h.bad = append(h.bad, h.manifest(typeOCIManifest, body).String())
		}
		h.bad = append(h.bad, h.manifest(typeOCIIndex, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":5,"platform":{"architecture":"amd64","os":"linux"}}],"annotations":{"n":"%s %d"}}`,
			typeOCIIndex, typeOCIManifest, h.bad[len(h.bad)-1], canary, i)).String())
	}
	return h
}

func (h *hostile) blob(body []byte, mediaType string) descriptor {
	d := sum(body)
	h.blobs[d.String()] = body
	return descriptor{MediaType: mediaType, Digest: d, Size: int64(len(body)), UntrustedDigest: d.String()}
}

func (h *hostile) manifest(mediaType string, body []byte) v1.Hash {
	d := sum(body)
	h.manifests[d.String()] = served{mediaType, body}
	return d
}

// pick is one of some digests.
func pick[T any](all []T) T { return all[rand.IntN(len(all))] }

// RoundTrip implements http.RoundTripper.
func (h *hostile) RoundTrip(req *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req, ContentLength: -1}
	resp.Body = http.NoBody
	if req.URL.Path == "/v2/" {
		return resp, nil
	}
	if req.URL.Host != hostileHost {
		return nil, fmt.Errorf("the proxy went to %s", req.URL.Host) // the guard lets https redirects through: nothing answers there
	}
	parts := strings.Split(req.URL.Path, "/")
	reference := parts[len(parts)-1]
	switch parts[len(parts)-2] {
	case "manifests":
		h.answerManifest(resp, reference)
	case "blobs":
		h.answerBlob(resp, reference, req.Header.Get("Range"))
	case "referrers":
		h.answerReferrers(resp, req)
	case "tags":
		h.answerTags(resp, req)
	default: // where redirects point
		h.body(resp, []byte("this is no registry"))
	}
	if rand.IntN(25) == 0 {
		return h.trouble(resp)
	}
	if req.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp, nil
}

func (h *hostile) body(resp *http.Response, b []byte) {
	h.stream(resp, bytes.NewReader(b), int64(len(b)))
}

func (h *hostile) stream(resp *http.Response, r io.Reader, length int64) {
	resp.Body, resp.ContentLength = io.NopCloser(r), length
	if rand.IntN(3) == 0 {
		resp.ContentLength = -1
	}
}

func (h *hostile) answerManifest(resp *http.Response, reference string) {
	m, right := h.manifests[reference]
	switch reference { // tags
	case "good":
		m = h.manifests[h.good[0]]
	case "bad":
		m = h.manifests[pick(h.bad)]
	default:
		if !right { // any other tag points to something else each time
			h.flips.Add(1)
			m = h.manifests[pick(append(h.good[:len(h.good):len(h.good)], h.bad...))]
		}
	}
	resp.Header.Set("Content-Type", m.mediaType)
	resp.Header.Set("Docker-Content-Digest", sum(m.body).String())
	body := m.body
	evil := h.manifests[pick(h.bad)]
	attack := rand.IntN(30)
	h.attacks[attack].Add(1)
	switch attack {
	case 0: // another manifest under the digest of a signed one, as header and tag have it
		body = evil.body
		resp.Header.Set("Docker-Content-Digest", h.good[0])
	case 1: // one byte more, one less
		body = append(bytes.Clone(body), ' ')
	case 2:
		body = body[:len(body)-1]
	case 3:
		resp.Header.Set("Content-Type", pick([]string{"text/html", typeOCIIndex, typeOCIManifest, typeDockerManifest, "application/vnd.docker.distribution.manifest.v1+prettyjws", ""}))
	case 4:
		resp.Header.Set("Content-Encoding", "gzip")
	case 5: // signed bytes first, then others
		body = append(bytes.Clone(body), evil.body...)
	case 6: // two readings
		body = append([]byte(`{"config":{},"annotations":{"x":"`+canary+`"},`), body[1:]...)
	case 7:
		body = bytes.Replace(body, []byte(`"layers"`), []byte(`"Layers"`), 1)
	case 8:
		body = []byte(`{"schemaVersion":1,"fsLayers":[],"name":"` + canary + `"}`)
	case 9:
		resp.StatusCode = http.StatusPartialContent
	case 10:
		h.stream(resp, io.MultiReader(bytes.NewReader(body), brokenOff{}), int64(len(body)+10))
		return
	case 11:
		if rand.IntN(50) == 0 { // endless
			h.stream(resp, &pattern{size: 1 << 40}, -1)
			return
		}
	case 12:
		resp.Header.Set("Etag", `"`+h.good[0]+`"`)
		resp.Header.Set(headerOffline, canary)
		resp.Header.Set("Link", "</v2/"+canary+">")
	case 13: // where somebody is told what is wrong with it
		body = pick([][]byte{
			append([]byte(`{"`+canary+`":1,"`+canary+`":2,`), body[1:]...),
			append([]byte(`{"`+canary+`":`+canary+`,`), body[1:]...),
			bytes.Replace(body, []byte(`"sha256:`), []byte(`"`+canary+`:`), 1),
			bytes.Replace(body, []byte(`"mediaType":"`), []byte(`"mediaType":"`+canary), 1),
		})
	}
	h.body(resp, body)
}

// brokenOff is a connection that ends.
type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (h *hostile) answerBlob(resp *http.Response, reference, rng string) {
	body, ok := h.blobs[reference]
	if !ok {
		resp.StatusCode = http.StatusNotFound
		return
	}
	wrong := bytes.Clone(body)
	copy(wrong[max(0, len(wrong)-len(canary)-rand.IntN(20)):], canary)
	attack := rand.IntN(20)
	h.attacks[32+attack].Add(1)
	switch attack {
	case 0:
		body = wrong
	case 1:
		body = append(bytes.Clone(body), canary...)
	case 2:
		body = append(bytes.Clone(body[:len(body)-1]), brokenTail...)
	case 3:
		body = body[:len(body)-1]
	case 4:
		body = nil
	case 5:
		body = append([]byte(canary), body...)
		if len(body) > blob.Tail { // all but the end of a blob may leave before it is known to be wrong
			body = wrong
		}
	case 6:
		resp.Header.Set("Content-Encoding", "gzip")
	case 7:
		h.stream(resp, io.MultiReader(bytes.NewReader(body[:len(body)/2]), brokenOff{}), int64(len(body)))
		return
	case 8:
		if rand.IntN(50) == 0 {
			h.stream(resp, &pattern{size: 1 << 40}, -1)
			return
		}
	case 9:
		resp.StatusCode = http.StatusPartialContent
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(body), len(body)))
	}
	var from, to int
	if n, _ := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); n == 2 && attack >= 10 && to < len(body) {
		resp.StatusCode = http.StatusPartialContent
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
		body = body[from : to+1]
	}
	h.body(resp, body)
}

const brokenTail = canary + canary

func (h *hostile) answerReferrers(resp *http.Response, req *http.Request) {
	resp.Header.Set("Content-Type", typeOCIIndex)
	switch rand.IntN(5) {
	case 0: // the same page again and again
		resp.Header.Set("Link", `<`+req.URL.Path+`?page=1>; rel="next"`)
	case 1:
		resp.Header.Set("Link", `<https://elsewhere.example/v2/>; rel="next"`)
	case 2:
		resp.StatusCode = http.StatusNotFound
	}
	h.body(resp, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":5,"artifactType":%q}]}`,
		typeOCIIndex, typeOCIManifest, pick(h.bad), bundleType))
}

func (h *hostile) answerTags(resp *http.Response, req *http.Request) {
	switch rand.IntN(5) {
	case 0: // the same page again and again
		resp.Header.Set("Link", `<`+req.URL.Path+`?last=flip>; rel="next"`)
	case 1:
		h.body(resp, []byte(`{"tags":["../../`+canary+`"]}`))
		return
	}
	h.body(resp, []byte(`{"name":"app","tags":["bad","flip","good"]}`))
}

// trouble answers in another way altogether.
func (h *hostile) trouble(resp *http.Response) (*http.Response, error) {
	resp.Body = io.NopCloser(strings.NewReader(canary))
	resp.ContentLength = -1
	switch rand.IntN(6) {
	case 0:
		resp.StatusCode = []int{204, 400, 401, 403, 404, 410, 412, 418, 429, 500, 502, 503}[rand.IntN(12)]
		resp.Header.Set("Www-Authenticate", `Bearer realm="https://evil.example/token",service="`+canary+`"`)
	case 1:
		resp.StatusCode = http.StatusTemporaryRedirect
		resp.Header.Set("Location", pick([]string{"http://169.254.169.254/", "https://elsewhere.example/x", resp.Request.URL.String(), "http://" + hostileHost + "/", "gopher://x", "//", "\x00"}))
	default:
		return nil, io.ErrUnexpectedEOF
	}
	return resp, nil
}

// attack is one client's request, and what it may get.
func (h *hostile) attack(t *testing.T, handler http.Handler) (complete bool) {
	method := http.MethodGet
	if rand.IntN(8) == 0 {
		method = http.MethodHead
	}
	var path, want string // want is the digest of what is asked for
	switch rand.IntN(12) {
	case 0, 1, 2, 3:
		path = "/v2/app/manifests/" + pick([]string{"flip", "flip", "flip", "good", "bad", "sha256-" + hex64 + ".sig", "sha256-" + hex64})
	case 4:
		want = pick(h.good)
		path = "/v2/app/manifests/" + want
	case 5:
		want = pick(h.bad)
		path = "/v2/app/manifests/" + want
	case 6:
		path = pick([]string{"/v2/app/tags/list", "/v2/app/referrers/" + pick(h.good)})
	default:
		for want = range h.blobs { // any one
			break
		}
		path = "/v2/app/blobs/" + want
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://proxy"+path, nil)
	if err != nil {
		t.Error(err)
		return false
	}
	req.RemoteAddr = "192.0.2.1:1"
	if rand.IntN(6) == 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", rand.IntN(50), 50+rand.IntN(200)))
	}
	rec := &recorder{header: http.Header{}}
	whole := serveOrCut(handler, rec, req)
	body := rec.body.Bytes()
	if bytes.Contains(body, []byte(canary)) {
		t.Errorf("%s %s %s: status %d: the canary is out: %.300q", method, path, req.Header.Get("Range"), rec.status, body)
	}
	for name, values := range rec.header {
		if strings.Contains(strings.Join(values, " "), canary) {
			t.Errorf("%s %s: the canary is in header %s", method, path, name)
		}
	}
	if rec.status != http.StatusOK || method == http.MethodHead || !whole {
		return false
	}
	switch {
	case strings.Contains(path, "/blobs/"):
		if sum(body).String() != want {
			t.Errorf("%s: a complete wrong blob of %d bytes", path, len(body))
		}
	case strings.Contains(path, "/manifests/"):
		got := sum(body).String()
		signed := false
		for _, g := range h.good {
			signed = signed || g == got
		}
		if !signed || want != "" && got != want {
			t.Errorf("%s: a manifest was served that is not signed, or not the one: %.300q", path, body)
		}
	}
	return true
}

// serveOrCut reports whether the answer came to its end.
func serveOrCut(handler http.Handler, rec *recorder, req *http.Request) (whole bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			whole = false
		}
	}()
	handler.ServeHTTP(rec, req)
	length, err := strconv.Atoi(rec.header.Get("Content-Length"))
	return err == nil && length == rec.body.Len()
}

// TestHostileUpstream: PX-01..03, 10, 12, 13, 16, 31, 32. HOSTILE_REQUESTS says how many; a tag is somewhere else each time it is asked for.
func TestHostileUpstream(t *testing.T) {
	requests := 6_000
	if testing.Short() {
		requests = 2_000
	}
	if n, err := strconv.Atoi(os.Getenv("HOSTILE_REQUESTS")); err == nil {
		requests = n
	}
	for _, withCache := range []bool{false, true} {
		count := requests
		if withCache {
			count /= 4
		}
		t.Run(fmt.Sprintf("cache %v", withCache), func(t *testing.T) {
			admitter, clock := &script{}, coretest.NewClock(time.Now())
			h := newHostile(admitter)
			c := Config{
				Upstream: "http://" + hostileHost, LogicalName: "registry.acme.example", Admitter: admitter, Transport: h, Now: clock.Now,
				Logger: slog.New(slog.DiscardHandler),
			}
			if withCache {
				kept, err := cache.Open(cache.Config{Dir: t.TempDir(), MaxBytes: cache.MinBytes, Now: clock.Now})
				if err != nil {
					t.Fatal(err)
				}
				defer kept.Close()
				c.Cache, c.Offline = kept, time.Hour
			}
			p, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			handler := p.Handler()
			var done, complete atomic.Int64
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for done.Add(1) <= int64(count) && !t.Failed() {
						if done.Load()%4 == 0 {
							clock.Advance(tagFresh)
						}
						if h.attack(t, handler) {
							complete.Add(1)
						}
						admitter.forget()
					}
				})
			}
			wg.Wait()
			t.Logf("%d requests, %d flips of a tag, %d complete answers", count, h.flips.Load(), complete.Load())
			if complete.Load() < int64(count/20) {
				t.Error("hardly anything was served: the test tests nothing")
			}
			for i := range 14 {
				if count >= 5000 && (h.attacks[i].Load() == 0 || i < 10 && h.attacks[32+i].Load() == 0) {
					t.Errorf("attack %d was not tried", i)
				}
			}
		})
	}
}

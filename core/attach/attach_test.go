package attach_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
)

const predicateType = "https://sigstore.dev/cosign/sign/v1"

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// testRegistry is go-containerregistry's registry behind a hook that can answer in its place.
type testRegistry struct {
	*httptest.Server
	src attach.Source

	mu       sync.Mutex
	hook     func(w http.ResponseWriter, r *http.Request) bool // true: it answered
	requests []string                                          // "GET /v2/..." without the pings
}

func newRegistry(t *testing.T, referrersAPI bool) *testRegistry {
	t.Helper()
	inner := registry.New(registry.WithReferrersSupport(referrersAPI), registry.Logger(log.New(io.Discard, "", 0)))
	reg := &testRegistry{}
	reg.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reg.mu.Lock()
		hook := reg.hook
		if r.URL.Path != "/v2/" {
			reg.requests = append(reg.requests, r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/v2/team/app/"))
		}
		reg.mu.Unlock()
		if hook == nil || !hook(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(reg.Close)
	repo, err := name.NewRepository(strings.TrimPrefix(reg.URL, "http://") + "/team/app")
	if err != nil {
		t.Fatal(err)
	}
	reg.src = attach.Source{Repository: repo}
	return reg
}

// intercept sets the hook and forgets the requests so far.
func (reg *testRegistry) intercept(hook func(http.ResponseWriter, *http.Request) bool) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	reg.hook, reg.requests = hook, nil
}

// forget forgets the requests so far.
func (reg *testRegistry) forget() {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	reg.requests = nil
}

func (reg *testRegistry) seen() []string {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	return append([]string(nil), reg.requests...)
}

// image pushes an image of one layer.
func (reg *testRegistry) image(t *testing.T) v1.Descriptor {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref := reg.src.Repository.Tag("latest")
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	desc, _, err := attach.Resolve(t.Context(), reg.src, ref)
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

// bundleJSON is a well-formed bundle that proves nothing; n makes it unique.
func bundleJSON(t *testing.T, n int) []byte {
	t.Helper()
	data, err := bundle.Marshal(&bundle.Evidence{
		Form:     bundle.FormBundle,
		Envelope: &bundle.Envelope{PayloadType: "application/vnd.in-toto+json", Payload: []byte("{}"), Signature: fmt.Appendf(nil, "signature %d", n)},
		KeyHint:  "hint",
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (reg *testRegistry) writeBundle(t *testing.T, subject v1.Descriptor, n int) v1.Hash {
	t.Helper()
	h, err := attach.WriteBundle(t.Context(), reg.src, subject, bundleJSON(t, n), predicateType, now)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (reg *testRegistry) writeLegacy(t *testing.T, subject v1.Descriptor, n int) v1.Hash {
	t.Helper()
	h, err := attach.WriteLegacy(t.Context(), reg.src, subject.Digest, payload(n), annotations(n))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func payload(n int) []byte { return fmt.Appendf(nil, "payload %d", n) }

func annotations(n int) map[string]string {
	return map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "signature %d", n))}
}

func find(t *testing.T, src attach.Source, digest v1.Hash) attach.Found {
	t.Helper()
	found, err := attach.Find(t.Context(), src, digest)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// signatures are the signatures of the evidence that can be used, and errs the errors of the rest.
func signatures(found attach.Found) (sigs map[string]attach.Where, errs []error) {
	sigs = map[string]attach.Where{}
	for _, l := range found.Evidence {
		if l.Err != nil {
			errs = append(errs, l.Err)
		} else {
			sigs[string(l.Evidence.Signature())] = l.Where
		}
	}
	return sigs, errs
}

// put writes raw bytes as a manifest.
func (reg *testRegistry) put(t *testing.T, identifier, mediaType, body string) {
	t.Helper()
	reg.send(t, http.MethodPut, "manifests/"+identifier, mediaType, body)
}

// blob writes raw bytes as a blob.
func (reg *testRegistry) blob(t *testing.T, content []byte) v1.Hash {
	t.Helper()
	h, _, err := v1.SHA256(strings.NewReader(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	reg.send(t, http.MethodPost, "blobs/uploads/?digest="+h.String(), "application/octet-stream", string(content))
	return h
}

func (reg *testRegistry) send(t *testing.T, method, path, contentType, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, reg.URL+"/v2/team/app/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: status %d: %s", method, path, resp.StatusCode, text)
	}
}

func (reg *testRegistry) read(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := http.Get(reg.URL + "/v2/team/app/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d: %s", path, resp.StatusCode, body)
	}
	return body
}

// rewriteList changes what the referrers API answers.
func (reg *testRegistry) rewriteList(change func(string) string) {
	inner := reg.Config.Handler
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") || r.Header.Get("X-Rewritten") != "" {
			return false
		}
		r.Header.Set("X-Rewritten", "true")
		answer := httptest.NewRecorder()
		inner.ServeHTTP(answer, r)
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		io.WriteString(w, change(answer.Body.String()))
		return true
	})
}

// wholeTransport lets a function be the network.
type wholeTransport func(*http.Request) (*http.Response, error)

func (f wholeTransport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int, header http.Header, body string) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

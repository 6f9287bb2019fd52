package podman_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// recorder is a registry that remembers what it was sent, and can be down.
type recorder struct {
	Host     string // and port
	registry http.Handler

	mu        sync.Mutex
	manifests []string            // that were written: repository:reference digest
	blobs     map[string][]string // that were written, by repository
	named     map[string]bool     // digests that stand in manifests that were written
	down      bool
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{
		registry: registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))),
		blobs:    make(map[string][]string), named: make(map[string]bool),
	}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.Host = strings.TrimPrefix(server.URL, "http://")
	return r
}

var (
	writtenPath = regexp.MustCompile(`\A/v2/(.+)/(manifests|blobs)/(.+)\z`)
	digests     = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
)

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	down := r.down
	r.mu.Unlock()
	if down {
		w.Header().Set("Retry-After", "3600") // else clients try again for a while
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var body []byte
	if req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/") {
		body, _ = io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	kept := &statusWriter{ResponseWriter: w}
	r.registry.ServeHTTP(kept, req)
	m := writtenPath.FindStringSubmatch(req.URL.Path)
	if kept.status != http.StatusCreated || m == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	digest := w.Header().Get("Docker-Content-Digest")
	if m[2] == "blobs" {
		r.blobs[m[1]] = append(r.blobs[m[1]], digest)
		return
	}
	r.manifests = append(r.manifests, fmt.Sprintf("%s:%s %s", m[1], m[3], digest))
	for _, d := range digests.FindAll(body, -1) {
		r.named[string(d)] = true
	}
}

// sent is what was written to the repositories of a namespace: manifests by their digests, and blobs that no manifest names.
func (r *recorder) sent(namespace string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, m := range r.manifests {
		if rest, ok := strings.CutPrefix(m, namespace+"/"); ok {
			all = append(all, "manifest "+rest)
		}
	}
	for repository, blobs := range r.blobs {
		rest, ok := strings.CutPrefix(repository, namespace+"/")
		for _, b := range blobs {
			if ok && !r.named[b] {
				all = append(all, "blob of "+rest+" "+b)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// setDown makes every answer a 503, or none.
func (r *recorder) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

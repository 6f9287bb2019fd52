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

// recorder is a registry that remembers what it was sent and how often it was asked for evidence, and that can be in trouble.
type recorder struct {
	Host     string // and port
	registry http.Handler

	mu        sync.Mutex
	manifests []string            // that were written: repository:reference digest
	blobs     map[string][]string // that were written, by repository
	named     map[string]bool     // digests that stand in manifests that were written
	asked     int                 // for evidence
	down      bool
	password  string        // that it demands of alice
	hold      chan struct{} // what asks for evidence waits until it is closed
	held      chan struct{} // gets something whenever somebody begins to wait
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{
		registry: registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))),
		blobs:    make(map[string][]string), named: make(map[string]bool), held: make(chan struct{}, 1000),
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

// admits answers in the registry's place if it is in trouble.
func (r *recorder) admits(w http.ResponseWriter, req *http.Request) bool {
	r.mu.Lock()
	evidence := strings.Contains(req.URL.Path, "/referrers/")
	if evidence {
		r.asked++
	}
	down, password, hold := r.down, r.password, r.hold
	r.mu.Unlock()
	if down {
		w.Header().Set("Retry-After", "3600") // else clients try again for a while
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	}
	if user, got, _ := req.BasicAuth(); password != "" && (user != "alice" || got != password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	if evidence && hold != nil {
		r.held <- struct{}{}
		select {
		case <-hold:
		case <-req.Context().Done():
		}
	}
	return true
}

// trouble changes what is wrong with the registry.
func (r *recorder) trouble(change func(*recorder)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.admits(w, req) {
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

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

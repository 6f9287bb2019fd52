package situations

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// server is one address with two registries behind it: one with the referrers
// API, and an old one without it, which has the repositories that are said to be
// there. For some repositories it gives wrong answers.
type server struct {
	current, old http.Handler
	lookaside    sync.Map // path -> []byte

	mu     sync.RWMutex
	isOld  map[string]bool // by repository
	faults map[string]fault
}

// fault is what goes wrong with a repository.
type fault struct {
	answer     http.HandlerFunc
	everything bool // else only what is asked to find evidence
}

func newServer(tb testing.TB) (s *server, host string, stop func()) {
	tb.Helper()
	discard := registry.Logger(log.New(io.Discard, "", 0))
	s = &server{
		current: registry.New(registry.WithReferrersSupport(true), discard),
		old:     registry.New(registry.WithReferrersSupport(false), discard),
		isOld:   make(map[string]bool), faults: make(map[string]fault),
	}
	hs := httptest.NewServer(s)
	stop = func() {
		hs.CloseClientConnections() // those that are left hanging
		hs.Close()
	}
	tb.Cleanup(stop)
	return s, strings.TrimPrefix(hs.URL, "http://"), stop
}

// Paths of the registry's API, and of containers/image's lookaside.
var (
	registryPath  = regexp.MustCompile(`\A/v2/(.+)/(manifests|blobs|referrers|tags)/(.*)\z`)
	lookasidePath = regexp.MustCompile(`\A` + lookasideRoot + `/(.+)@sha256=`)
)

// lookasideRoot is where signatures lie that are not in the registry.
const lookasideRoot = "/lookaside"

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var repository string
	evidence := false
	if m := registryPath.FindStringSubmatch(r.URL.Path); m != nil {
		repository = m[1]
		evidence = m[2] == "referrers" || m[2] == "manifests" && strings.Contains(m[3], "sha256-")
	} else if m := lookasidePath.FindStringSubmatch(r.URL.Path); m != nil {
		repository, evidence = m[1], true
	}
	s.mu.RLock()
	f, isOld := s.faults[repository], s.isOld[repository]
	s.mu.RUnlock()
	switch {
	case f.answer != nil && (evidence || f.everything):
		f.answer(w, r)
	case strings.HasPrefix(r.URL.Path, lookasideRoot+"/"):
		body, ok := s.lookaside.Load(r.URL.Path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(body.([]byte))
	case isOld:
		s.old.ServeHTTP(w, r)
	default:
		s.current.ServeHTTP(w, r)
	}
}

// of is the registry that has a repository, for what its clients can't write.
func (s *server) of(repository string) http.Handler {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.isOld[repository] {
		return s.old
	}
	return s.current
}

// faults are the answers of a registry in trouble. A long Retry-After keeps
// clients from trying again, which is not what is tested here.
var faults = map[string]fault{
	"401":     {answer: status(http.StatusUnauthorized)},
	"403":     {answer: status(http.StatusForbidden)},
	"404":     {answer: status(http.StatusNotFound)},
	"429":     {answer: status(http.StatusTooManyRequests)},
	"500":     {answer: status(http.StatusInternalServerError)},
	"503":     {answer: status(http.StatusServiceUnavailable)},
	"html":    {answer: loginPage},
	"garbage": {answer: garbage},
	"endless": {answer: endless},
	"dropped": {answer: dropped},
	"silent":  {answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},

	"404-everything": {answer: status(http.StatusNotFound), everything: true},
	"503-everything": {answer: status(http.StatusServiceUnavailable), everything: true},
}

// loginPage is a web page with status 200, as stands in front of some registries.
func loginPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	io.WriteString(w, "<!doctype html><title>Sign in</title>")
}

// garbage has the right type, and holds nothing that could be read.
func garbage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", contentType(r))
	io.WriteString(w, strings.Repeat("{[", 1000))
}

// endless is more than anybody should read.
func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", contentType(r))
	block := make([]byte, 1<<16)
	for range 256 {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func dropped(w http.ResponseWriter, _ *http.Request) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(code)
	}
}

func contentType(r *http.Request) string {
	if strings.Contains(r.URL.Path, "/referrers/") {
		return "application/vnd.oci.image.index.v1+json"
	}
	return "application/vnd.oci.image.manifest.v1+json"
}

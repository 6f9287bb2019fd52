package registries

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// harbor is a registry that behaves as Harbor does where that differs from others: a token service of its own at /service/token, robot accounts whose
// names hold a dollar sign, repositories as project/name, blobs that are redirected to an object storage on another host, which must not be sent any
// credentials, and 412 PROJECTPOLICYVIOLATION for what a rule of its own forbids to pull.
type harbor struct {
	registry http.Handler
	storage  *httptest.Server

	mu        sync.Mutex
	forbidden string   // tag that nobody may pull
	leaked    []string // credentials that the object storage was sent
	stored    int      // blobs that it gave
}

const (
	robot  = "robot$acme+proxy"
	secret = "robot-secret"
)

var blobPath = regexp.MustCompile(`^/v2/(.+)/blobs/(sha256:[a-f0-9]{64})$`)

// newHarbor starts one, with TLS, and its storage.
func newHarbor(t *testing.T) (h *harbor, front *httptest.Server) {
	t.Helper()
	h = &harbor{registry: registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))}
	h.storage = httptest.NewTLSServer(http.HandlerFunc(h.serveStorage))
	t.Cleanup(h.storage.Close)
	front = httptest.NewUnstartedServer(nil)
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, front.URL) })
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	return h, front
}

func (h *harbor) serve(w http.ResponseWriter, r *http.Request, self string) {
	if r.URL.Path == "/service/token" {
		name, password, ok := r.BasicAuth()
		if !ok || name != robot || password != secret || r.URL.Query().Get("service") != "harbor-registry" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": "bearer of " + r.URL.Query().Get("scope"), "expires_in": 1800})
		return
	}
	repository := ""
	if parts := regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags|referrers)/`).FindStringSubmatch(r.URL.Path); parts != nil {
		repository = parts[1]
	}
	want := "bearer of repository:" + repository + ":pull"
	if got := r.Header.Get("Authorization"); got != "Bearer "+want && !strings.HasPrefix(got, "Bearer "+want+",") && !(repository == "" && strings.HasPrefix(got, "Bearer ")) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/service/token",service="harbor-registry",scope="repository:%s:pull"`, self, repository))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"unauthorized to access repository"}]}`)
		return
	}
	h.mu.Lock()
	forbidden := h.forbidden
	h.mu.Unlock()
	if forbidden != "" && strings.HasSuffix(r.URL.Path, "/manifests/"+forbidden) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusPreconditionFailed)
		_, _ = io.WriteString(w, `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"current image with 3 vulnerabilities cannot be pulled due to configured policy in 'Prevent images with vulnerability severity of \"High\" or higher from running.'"}]}`)
		return
	}
	if blobPath.MatchString(r.URL.Path) && r.Method == http.MethodGet {
		http.Redirect(w, r, h.storage.URL+r.URL.Path+"?X-Amz-Signature=abc", http.StatusTemporaryRedirect)
		return
	}
	h.registry.ServeHTTP(w, r)
}

func (h *harbor) serveStorage(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	if auth := r.Header.Get("Authorization"); auth != "" {
		h.leaked = append(h.leaked, auth)
	}
	h.stored++
	h.mu.Unlock()
	if r.URL.Query().Get("X-Amz-Signature") != "abc" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	inner := httptest.NewRequest(r.Method, r.URL.Path, bytes.NewReader(nil))
	inner.Header.Set("Range", r.Header.Get("Range"))
	if inner.Header.Get("Range") == "" {
		inner.Header.Del("Range")
	}
	h.registry.ServeHTTP(w, inner)
}

package proxy_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// What Harbor says where a project's rules forbid to pull an image, under its own code.
const (
	policyViolation = "PROJECTPOLICYVIOLATION"
	unsignedThere   = "The image is not signed by cosign."
	vulnerableThere = `current image with 3 vulnerabilities cannot be pulled due to configured policy in 'Prevent images with vulnerability severity of "High" or higher from running.' ` +
		"To continue with pull, please contact your project administrator to exempt matched vulnerabilities through configuring the CVE allowlist."
)

// harbor stands before distribution 3 as Harbor does: it has the token service on its own host, at /service/token, and robot accounts; repositories are a
// project's; blobs are redirected to an object storage on another host, which takes a signed query and refuses whoever brings credentials as well; what a rule
// of a project forbids to pull is 412; of the project "hidden" those who may not see it are told that it is not there; and the repository "library/busy" is
// asked too often.
type harbor struct {
	address   string // host and port
	tokens    *lab.Tokens
	registry  *httputil.ReverseProxy
	storage   string // URL
	signature string // in the query of a redirect

	mu        sync.Mutex
	forbidden map[string]string // by a manifest's digest
	accounts  map[string]bool   // that asked for tokens by name
	kept      []*http.Request   // that came to the storage
}

// secretOf is a robot's password.
func secretOf(robot string) string { return "Secret/of " + robot }

// mayIn says whether a robot may do anything with a repository: "robot$PROJECT+NAME" is a project's, the others are the system's.
func mayIn(robot, repository string) bool {
	project, _, _ := strings.Cut(repository, "/")
	switch robot {
	case "robot$pusher":
		return true
	case "robot$proxy":
		return project != "hidden"
	}
	return strings.HasPrefix(robot, "robot$"+project+"+")
}

// newHarbor starts it. Clients know the storage by the outside address of their host.
func newHarbor(t *testing.T, own tls.Certificate, robots ...string) *harbor {
	t.Helper()
	users := map[string]string{"": ""} // whoever has no name is given a token, too, which is good for nothing
	for _, robot := range robots {
		users[robot] = secretOf(robot)
	}
	h := &harbor{tokens: lab.NewTokens(t, users, mayIn), signature: rand.Text(), forbidden: map[string]string{}, accounts: map[string]bool{}}
	data := filepath.Join(t.TempDir(), "data")
	files := http.FileServer(http.Dir(data))
	storage := serveTLS(t, own, func(w http.ResponseWriter, r *http.Request) { h.give(w, r, files) })
	_, port, _ := strings.Cut(storage, ":")
	h.storage = "https://" + lab.OutsideAddress + ":" + port
	inner := lab.FreeAddress(t)
	h.registry = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: inner})
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		ModifyResponse: h.answer,
	}
	_, port, _ = strings.Cut(serveTLS(t, own, h.serve), ":")
	h.address = "localhost:" + port // go-containerregistry goes to no token service at an IP address of a private network
	c, file := lab.Distribution(t, inner, data, h.tokens.Section("https://"+h.address+"/service/token", "harbor-registry"))
	c.Serve(t, "http://"+inner+"/", "serve", file)
	return h
}

// serveTLS starts a server on this machine, and returns its address.
func serveTLS(t *testing.T, own tls.Certificate, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that try something else first
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// serve is Harbor's front, whose token service is asked by GET alone, for one service, and for whoever logs in.
func (h *harbor) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/service/token" {
		h.registry.ServeHTTP(w, r)
		return
	}
	user, _, _ := r.BasicAuth()
	account, named := r.URL.Query()["account"]
	switch {
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.URL.Query().Get("service") != "harbor-registry", named && account[0] != user:
		http.Error(w, "Unable to handle service", http.StatusBadRequest)
		return
	case named:
		h.mu.Lock()
		h.accounts[user] = true
		h.mu.Unlock()
	}
	h.tokens.ServeHTTP(w, r)
}

var registryPath = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/(sha256:([a-f0-9]{2})([a-f0-9]{62})|[^/]+)$`)

// answer makes Harbor's of the registry's answers. Who may do what comes first.
func (h *harbor) answer(resp *http.Response) error {
	r := resp.Request
	path := registryPath.FindStringSubmatch(r.URL.Path)
	reading := path != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) && resp.StatusCode == http.StatusOK
	h.mu.Lock()
	why := h.forbidden[resp.Header.Get("Docker-Content-Digest")]
	h.mu.Unlock()
	switch {
	case resp.StatusCode == http.StatusUnauthorized && r.Header.Get("Authorization") != "":
		if strings.HasPrefix(r.URL.Path, "/v2/hidden/") {
			say(resp, http.StatusNotFound, "NOT_FOUND", "project hidden not found")
			return nil
		}
		say(resp, http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized to access repository, action: pull")
		resp.Header.Set("Www-Authenticate", `Basic realm="harbor"`)
	case reading && path[2] == "blobs":
		say(resp, http.StatusTemporaryRedirect, "", "")
		resp.Header.Set("Location", fmt.Sprintf("%s/docker/registry/v2/blobs/sha256/%s/%[2]s%s/data?X-Amz-Signature=%s", h.storage, path[4], path[5], h.signature))
	case reading && path[1] == "library/busy":
		say(resp, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests")
		resp.Header.Set("Retry-After", "30")
	case reading && why != "":
		say(resp, http.StatusPreconditionFailed, policyViolation, why)
	}
	return nil
}

// forbid has a rule forbid to pull what has a manifest with this digest.
func (h *harbor) forbid(digest, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forbidden[digest] = why
}

// say replaces an answer.
func say(resp *http.Response, status int, code, message string) {
	body, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}) // strings
	resp.Body.Close()
	resp.StatusCode = status
	resp.Header = http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(body))}}
	resp.ContentLength, resp.Body = int64(len(body)), io.NopCloser(bytes.NewReader(body))
	if resp.Request.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
}

// give is the object storage's answer.
func (h *harbor) give(w http.ResponseWriter, r *http.Request, files http.Handler) {
	h.mu.Lock()
	h.kept = append(h.kept, r)
	h.mu.Unlock()
	if r.URL.Query().Get("X-Amz-Signature") != h.signature || r.Header.Get("Authorization") != "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	files.ServeHTTP(w, r)
}

// token is what the token service gives a robot for a repository.
func (h *harbor) token(t *testing.T, via http.RoundTripper, robot, repository string) string {
	t.Helper()
	query := url.Values{"service": {"harbor-registry"}, "scope": {"repository:" + repository + ":pull"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+h.address+"/service/token?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(robot, secretOf(robot))
	resp, err := via.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var said struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || said.Token == "" {
		t.Fatalf("%s has no token for %s: %d %v", robot, repository, resp.StatusCode, err)
	}
	return said.Token
}

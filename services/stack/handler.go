package stack

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
)

// routes are the paths of the services on the one URL; they do not collide. A path that ends in a slash stands for all below it.
func (s *Stack) routes() map[string]http.Handler {
	authority, stamps, issuer, log, certificates, documents :=
		s.authority.Handler(), s.stamps.Handler(), s.issuer.Handler(), s.log.Handler(), s.certificates.Handler(), s.documents.Handler()
	return map[string]http.Handler{
		"/api/v2/signingCert":                authority,
		"/api/v2/trustBundle":                authority,
		"/api/v2/configuration":              authority,
		"/api/v1/signingCert":                authority,
		"/api/v1/rootCert":                   authority,
		"/api/v1/timestamp":                  stamps,
		"/api/v1/timestamp/certchain":        stamps,
		"/.well-known/openid-configuration":  issuer,
		"/issuer/":                           issuer,
		"/login":                             issuer,
		"/device":                            issuer,
		"/dev/token":                         issuer,
		"/api/v1/log":                        log,
		"/api/v1/log/":                       log,
		"/api/v1/index/":                     log,
		"/api/v2/log/":                       log,
		"/api/v2/checkpoint":                 log,
		"/api/v2/tile/":                      log,
		"/checkpoint":                        log,
		"/tile/":                             log,
		"/ct/":                               certificates,
		"/trusted_root.json":                 documents,
		"/signing_config.v0.2.json":          documents,
		"/signing_config_rekor_v2.v0.2.json": documents,
		"/tuf/":                              http.StripPrefix("/tuf", s.repository.Handler()),
		"/healthz":                           http.HandlerFunc(s.serveHealth),
	}
}

// handler puts the services behind one door.
func (s *Stack) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, service := range s.routes() {
		mux.Handle(pattern, service)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writeError(w, http.StatusNotFound, "no such resource") })
	return recovering(s.logger, plainPaths(mux))
}

// plainPaths lets only requests through whose path has one spelling: no empty, dot or escaped segments, no parameters. Whatever reads
// a path after this, a proxy's rule, the mux or a handler, reads the same. No path of any service needs an escape.
func plainPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spelled := r.URL.EscapedPath()
		cleaned := path.Clean(spelled)
		if strings.HasSuffix(spelled, "/") && cleaned != "/" {
			cleaned += "/"
		}
		if r.Method == http.MethodConnect || !strings.HasPrefix(spelled, "/") || spelled != cleaned || strings.ContainsAny(spelled, "%;\\") {
			writeError(w, http.StatusBadRequest, "the path is not spelled plainly")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recovering answers a request whose handler panicked, and keeps the process.
func recovering(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch problem := recover(); problem {
			case nil:
			case http.ErrAbortHandler:
				panic(problem) // net/http's own way to end a connection
			default:
				logger.ErrorContext(r.Context(), "request panicked", "method", r.Method, "path", r.URL.Path, "panic", problem, "stack", string(debug.Stack()))
				writeError(w, http.StatusInternalServerError, "internal error")
			}
		}()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// serveHealth answers 200 while every service can do its work, and 503 with the reason otherwise.
func (s *Stack) serveHealth(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if err := s.Healthy(); err != nil {
		s.logger.ErrorContext(r.Context(), "not healthy", "err", err)
		writeError(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// starting answers everything until there is a stack to answer.
func starting() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, "starting")
	})
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"code": status, "message": message})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

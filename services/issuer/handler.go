package issuer

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
)

// Handler serves the issuer's documents and, if it is configured, the development token endpoint. Errors are JSON with one member,
// "error".
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", document(i.discoveryJSON))
	mux.HandleFunc(KeysPath, document(i.keysJSON))
	if i.dev {
		mux.HandleFunc("/dev/token", i.serveDevToken)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writeError(w, http.StatusNotFound, "no such resource") })
	return mux
}

func document(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !readOnly(w, r) {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// Long enough to spare the issuer, short enough that a new key is seen the same hour.
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(body)
	}
}

func (i *Issuer) serveDevToken(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	// The address of the connection keeps the network out; the Host header keeps out pages whose name was rebound to loopback.
	if !loopbackHost(hostOf(r.RemoteAddr)) || !loopbackHost(hostOf(r.Host)) {
		writeError(w, http.StatusForbidden, "development tokens are given on loopback only")
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, "reading query: it is not well-formed")
		return
	}
	if len(query["sub"]) != 1 {
		writeError(w, http.StatusBadRequest, "one sub parameter is needed: /dev/token?sub=alice@acme.example")
		return
	}
	address := query.Get("sub")
	token, err := i.Token(address)
	switch {
	case errors.Is(err, ErrAddress):
		writeError(w, http.StatusBadRequest, err.Error())
		return
	case err != nil:
		i.logger.ErrorContext(r.Context(), "making development token", "err", err)
		writeError(w, http.StatusInternalServerError, "the token could not be signed")
		return
	}
	i.logger.WarnContext(r.Context(), "development token given", "email", address, "remote", r.RemoteAddr)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(token))
}

// readOnly reports whether the request's method is GET or HEAD, and answers it if not.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here")
	return false
}

func writeError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}

func loopbackURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && loopbackHost(u.Hostname())
}

// hostOf returns the host of a host:port pair, or the whole of a host without a port.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

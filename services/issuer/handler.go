package issuer

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/services/issuer/accounts"
)

const (
	// maxForm bounds the body of a request; the largest that clients send has about 1 KiB.
	maxForm = 16 << 10

	// maxQuery bounds a query; cosign's authorization request has about 600 bytes.
	maxQuery = 8 << 10
)

// Handler serves the issuer. Errors of the protocol are JSON with "error" and "error_description", as RFC 6749 section 5.2 has them; what people see is HTML.
func (i *Issuer) Handler() http.Handler { return i.handler }

func (i *Issuer) routes() http.Handler {
	protocol := op.RegisterServer(&provider{Issuer: i}, op.Endpoints{
		Authorization:       op.NewEndpoint(authorizePath),
		Token:               op.NewEndpoint(tokenPath),
		DeviceAuthorization: op.NewEndpoint(deviceAuthorizationPath),
		JwksURI:             op.NewEndpoint(KeysPath),
	}, op.WithServerCORSOptions(nil)) // no page of another origin has any business here
	pages := newPages(i.url)

	mux := http.NewServeMux()
	mux.Handle(discoveryPath, only(protocol, http.MethodGet, http.MethodHead))
	mux.Handle(KeysPath, only(protocol, http.MethodGet, http.MethodHead))
	mux.Handle(authorizePath, only(i.limited(i.limits.begin, pages.busy, pages.protocol(protocol)), http.MethodGet, http.MethodPost))
	mux.Handle(tokenPath, only(i.limited(i.limits.token, slowDown, protocol), http.MethodPost))
	mux.Handle(deviceAuthorizationPath, only(i.limited(i.limits.begin, slowDown, protocol), http.MethodPost))
	l := &login{Issuer: i, pages: pages}
	mux.Handle(LoginPath, l.handler())
	mux.Handle(DevicePath, only(i.limited(i.limits.lookup, pages.busy, http.HandlerFunc(l.serveDevice)), http.MethodGet, http.MethodHead))
	if i.dev {
		mux.Handle(devTokenPath, only(http.HandlerFunc(i.serveDevToken), http.MethodGet, http.MethodHead))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writeError(w, http.StatusNotFound, "no such resource") })
	return bounded(mux)
}

// bounded refuses what is larger than any honest request, and parameters that occur twice, of which two readers might take different ones (RFC 6749
// section 3.1 forbids them).
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.RawQuery) > maxQuery {
			writeError(w, http.StatusRequestURITooLong, "the query is too long")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			writeError(w, http.StatusBadRequest, "the parameters cannot be read")
			return
		}
		for name, values := range r.Form {
			if len(values) > 1 {
				writeError(w, http.StatusBadRequest, "a parameter occurs twice: "+name)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// only lets these methods through. Whatever the answer is, it may be kept by nobody unless the handler says otherwise.
func only(next http.Handler, methods ...string) http.Handler {
	allowed := map[string]bool{}
	list := ""
	for n, method := range methods {
		allowed[method] = true
		if n > 0 {
			list += ", "
		}
		list += method
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed[r.Method] {
			w.Header().Set("Allow", list)
			writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here")
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

func (i *Issuer) serveDevToken(w http.ResponseWriter, r *http.Request) {
	// The address of the connection keeps the network out; the Host header keeps out pages whose name was rebound to loopback.
	if !loopback.Host(hostOf(r.RemoteAddr)) || !loopback.Host(hostOf(r.Host)) {
		writeError(w, http.StatusForbidden, "development tokens are given on loopback only")
		return
	}
	if len(r.Form["sub"]) != 1 {
		writeError(w, http.StatusBadRequest, "one sub parameter is needed: "+devTokenPath+"?sub=alice@acme.example")
		return
	}
	address := r.Form.Get("sub")
	token, err := i.Token(address)
	switch {
	case errors.Is(err, accounts.ErrInput):
		writeError(w, http.StatusBadRequest, err.Error())
		return
	case err != nil:
		i.logger.ErrorContext(r.Context(), "making development token", "err", err)
		writeError(w, http.StatusInternalServerError, "the token could not be signed")
		return
	}
	i.logger.WarnContext(r.Context(), "development token given", "email", address, "remote", r.RemoteAddr)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(token))
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeProtocolError(w, status, message, "")
}

// writeProtocolError writes an error as RFC 6749 section 5.2 has it.
func writeProtocolError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{code, description})
}

func loopbackURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && loopback.Host(u.Hostname())
}

// hostOf returns the host of a host:port pair, or the whole of a host without a port.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

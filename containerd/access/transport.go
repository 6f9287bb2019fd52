package access

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxTransports is how many places have connections kept open. Beyond that all
	// are begun anew.
	maxTransports = 64
	// maxCertificate bounds a file with certificates, in bytes: all public
	// authorities have 250 KiB.
	maxCertificate = 2 << 20
	// maxIdle is the number of connections kept open to one registry: as many as
	// core/attach uses at a time.
	maxIdle = 4
	// maxHeader bounds the header of an answer, in bytes. Registries' have 1 KiB,
	// with long links 8.
	maxHeader = 128 << 10
	// idleTimeout closes connections that nobody uses.
	idleTimeout = 30 * time.Second
	// dialTimeout is below the time that a decision has.
	dialTimeout = 3 * time.Second
)

// transport is the way to one host, for images of a registry. Without
// credentials no client certificate is shown, and no header sent: they say who
// one is, as passwords do.
func (a *Access) transport(h host, registry string, withCredentials bool) (http.RoundTripper, error) {
	if !withCredentials {
		h.client, h.header = nil, nil
	}
	state, err := h.state()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	kept, ok := a.transports[state]
	if !ok {
		if kept, err = h.transport(); err != nil {
			return nil, err
		}
		if len(a.transports) >= maxTransports {
			for _, old := range a.transports {
				old.CloseIdleConnections()
			}
			clear(a.transports)
		}
		a.transports[state] = kept
	}
	way := via{inner: kept, scheme: h.scheme, host: h.host, header: h.header, from: h.from, outside: h.outside()}
	// containerd adds it wherever it asks another host than the name has.
	if h.host != byDefault(registry).host {
		way.namespace = registry
	}
	return way, nil
}

// state changes when anything does that connections depend on.
func (h host) state() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %v %s %v", h.scheme, h.host, h.skipVerify, h.dialTimeout, len(h.ca))
	files := h.ca
	for _, pair := range h.client {
		files = append(files[:len(files):len(files)], pair[0], pair[1])
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", fmt.Errorf("%s: reading certificates: %w", h.from, err)
		}
		fmt.Fprintf(&b, " %q %d %d", f, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

func (h host) transport() (*http.Transport, error) {
	config := &tls.Config{InsecureSkipVerify: h.skipVerify} // the host's file says so
	if len(h.ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("reading the system's certificates: %w", err)
		}
		for _, file := range h.ca {
			data, err := configfile.Read(file, maxCertificate)
			if err != nil {
				return nil, fmt.Errorf("%s: ca: %w", h.from, err)
			}
			if !pool.AppendCertsFromPEM(data) {
				return nil, fmt.Errorf("%s: ca: %s: holds no certificate in PEM", h.from, file)
			}
		}
		config.RootCAs = pool
	}
	for _, pair := range h.client {
		var blocks [2][]byte
		for i, file := range pair {
			var err error
			if blocks[i], err = configfile.Read(file, maxCertificate); err != nil {
				return nil, fmt.Errorf("%s: client: %w", h.from, err)
			}
		}
		c, err := tls.X509KeyPair(blocks[0], blocks[1])
		if err != nil {
			return nil, fmt.Errorf("%s: client: %s: %w", h.from, pair[0], err)
		}
		config.Certificates = append(config.Certificates, c)
	}
	timeout := dialTimeout
	if h.dialTimeout > 0 {
		timeout = min(timeout, h.dialTimeout)
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: timeout}).DialContext, TLSClientConfig: config,
		TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}, nil
}

// via is how one host is asked. Other hosts, of tokens and of redirects, are
// asked by the same connections' rules, and told nothing more.
type via struct {
	inner        http.RoundTripper
	scheme, host string
	namespace    string // ?ns=; "" for none
	header       http.Header
	from         string
	outside      string // where the API lies, if not below /v2
}

// RoundTrip carries a request.
func (v via) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != v.host {
		return v.inner.RoundTrip(req)
	}
	// (go-containerregistry tries HTTP by itself on loopback and private addresses.)
	if v.scheme != "" && req.URL.Scheme != v.scheme {
		if req.Body != nil {
			_ = req.Body.Close() // nothing was sent
		}
		return nil, fmt.Errorf("not asking %s by %s: %s has it by %s", v.host, req.URL.Scheme, v.from, v.scheme)
	}
	ping := req.URL.Path == "/v2/"
	req = req.Clone(req.Context())
	prefix := strings.TrimSuffix(v.outside, "/")
	if v.namespace != "" && (strings.HasPrefix(req.URL.Path, "/v2/") || v.outside != "" && strings.HasPrefix(req.URL.Path, prefix+"/")) {
		q := req.URL.Query()
		q.Set("ns", v.namespace)
		req.URL.RawQuery = q.Encode()
	}
	for key, values := range v.header {
		req.Header[http.CanonicalHeaderKey(key)] = values
	}
	if v.outside == "" {
		return v.inner.RoundTrip(req)
	}
	if ping {
		return v.ping(req)
	}
	if rest, ok := strings.CutPrefix(req.URL.Path, "/v2"+prefix+"/"); ok {
		req.URL.Path, req.URL.RawPath = prefix+"/"+rest, ""
	}
	return v.inner.RoundTrip(req)
}

// ping asks an API outside of /v2 by what it wants to be authenticated. containerd
// asks no such thing, so there may be nothing there: then the requests themselves
// show whether they are answered without.
func (v via) ping(req *http.Request) (*http.Response, error) {
	req.URL.Path = strings.TrimSuffix(v.outside, "/") + "/"
	resp, err := v.inner.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusNotFound {
		resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	}
	return resp, err
}

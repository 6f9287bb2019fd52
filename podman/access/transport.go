package access

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/pkg/tlsclientconfig"
)

// Limits on what is kept and read.
const (
	// maxTransports is how many registries have connections kept open. Beyond that all are begun anew.
	maxTransports = 64
	// maxCerts is the number of files looked at in one directory of certs.d, and maxCert the size of each, in bytes: a bundle of all public CAs has 250 KiB.
	maxCerts = 64
	maxCert  = 2 << 20
	// maxIdle is the number of connections kept open to one registry: as many as core/attach uses at a time.
	maxIdle = 4
	// maxHeader bounds the header of an answer, in bytes. Registries' have 1 KiB, with long links 8.
	maxHeader = 128 << 10
)

type transportKey struct {
	host     string // as in the image's name, which for Docker Hub is docker.io
	insecure bool
	// anonymous is without the client's certificates: they say who one is, as passwords do (POD-13).
	anonymous bool
}

// dated is a transport with the state of the certificates that it was made of.
type dated struct {
	certificates [sha256.Size]byte
	transport    *http.Transport
	carrier      http.RoundTripper
}

// transport is the one for a registry. It is made anew if the registry's certificates have changed.
func (a *Access) transport(key transportKey) (http.RoundTripper, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	dir, certificates, err := a.certificates(key.host)
	if err != nil {
		return nil, fmt.Errorf("reading certificates for %s: %w", key.host, err)
	}
	if kept, ok := a.transports[key]; ok && kept.certificates == certificates {
		return kept.carrier, nil
	}
	config := &tls.Config{InsecureSkipVerify: key.insecure} // registries.conf says insecure = true of it, and clients do the same
	if dir != "" {
		if err := tlsclientconfig.SetupCertificates(dir, config); err != nil {
			return nil, fmt.Errorf("reading certificates for %s in %s: %w", key.host, dir, err)
		}
	}
	if key.anonymous {
		config.Certificates = nil
	}
	made := tlsclientconfig.NewTransport()
	made.TLSClientConfig, made.MaxIdleConnsPerHost, made.MaxResponseHeaderBytes = config, maxIdle, maxHeader
	if len(a.transports) >= maxTransports {
		for _, old := range a.transports {
			old.transport.CloseIdleConnections()
		}
		clear(a.transports)
	}
	if old, ok := a.transports[key]; ok {
		old.transport.CloseIdleConnections()
	}
	kept := &dated{certificates: certificates, transport: made, carrier: made}
	if !key.insecure {
		kept.carrier = tlsOnly{made}
	}
	a.transports[key] = kept
	return kept.carrier, nil
}

// certificates is the directory with a registry's certificates, "" if there is none, and the state of the files in it.
func (a *Access) certificates(host string) (string, [sha256.Size]byte, error) {
	for _, base := range a.host.CertsD() {
		dir := filepath.Join(base, host)
		// Clients go on, too, where they may not look, and take no certificates where they may not read.
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		entries, err := os.ReadDir(dir)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return "", [sha256.Size]byte{}, nil
		case err != nil:
			return "", [sha256.Size]byte{}, err
		case len(entries) > maxCerts:
			return "", [sha256.Size]byte{}, fmt.Errorf("%s: %d files, at most %d are read", dir, len(entries), maxCerts)
		}
		state := sha256.New()
		fmt.Fprintf(state, "%q", dir)
		for _, e := range entries {
			if !isCertificate(e.Name()) {
				continue
			}
			info, err := os.Stat(filepath.Join(dir, e.Name()))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue
			case err != nil:
				return "", [sha256.Size]byte{}, err
			case !info.Mode().IsRegular() || info.Size() > maxCert:
				return "", [sha256.Size]byte{}, fmt.Errorf("%s: not a file of at most %d bytes", filepath.Join(dir, e.Name()), maxCert)
			}
			fmt.Fprintf(state, "%q %d %d", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
		return dir, [sha256.Size]byte(state.Sum(nil)), nil
	}
	return "", [sha256.Size]byte{}, nil
}

func isCertificate(name string) bool {
	return strings.HasSuffix(name, ".crt") || strings.HasSuffix(name, ".cert") || strings.HasSuffix(name, ".key")
}

// tlsOnly refuses HTTP. (go-containerregistry tries it by itself on loopback and private addresses, which clients don't.)
type tlsOnly struct{ inner http.RoundTripper }

// RoundTrip carries a request if it is by HTTPS.
func (t tlsOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("not asking %s without TLS: registries.conf does not have insecure = true for it", req.URL.Host)
	}
	return t.inner.RoundTrip(req)
}

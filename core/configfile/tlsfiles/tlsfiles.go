// Package tlsfiles serves a TLS certificate and key from files that somebody else
// renews.
//
//	files, err := tlsfiles.Open("tls.crt", "tls.key", changed)
//	config := &tls.Config{GetCertificate: files.Get}
//
// The files are looked at with each handshake. Those that cannot be used change
// nothing: the pair before stays in use. Each may have 1 MiB.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
)

// maxFile bounds a file, in bytes: a chain of a few certificates has some KiB.
const maxFile = 1 << 20

// Files is a certificate and key in files. Its methods may be called at the same
// time.
type Files struct {
	certFile, keyFile string
	changed           func(*x509.Certificate, error)

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]stamp // of the files when they were last read, whether they could be used or not
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
	inode    fs.FileInfo
}

func (a stamp) same(b stamp) bool {
	return a.modified.Equal(b.modified) && a.size == b.size && a.inode != nil && b.inode != nil && os.SameFile(a.inode, b.inode)
}

// Open reads both files; an error names the one to blame. changed is called, if it
// is not nil, after they have changed: with the certificate that is used from now
// on, or with the reason why the one before stays.
func Open(certFile, keyFile string, changed func(*x509.Certificate, error)) (*Files, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("TLS needs a certificate file and a key file, and only one is given")
	}
	f := &Files{certFile: certFile, keyFile: keyFile, changed: changed}
	if changed == nil {
		f.changed = func(*x509.Certificate, error) {}
	}
	seen, err := f.stamps()
	if err != nil {
		return nil, err
	}
	f.seen = seen
	if f.current, err = f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// Get returns the certificate for a handshake; it is a tls.Config's GetCertificate. Two looks at the files' metadata cost little beside a handshake, and work wherever
// files can be replaced, on network file systems and by symbolic links, too.
func (f *Files) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, err := f.stamps()
	if err != nil || seen[0].same(f.seen[0]) && seen[1].same(f.seen[1]) {
		return f.current, nil // a file that is missing is about to come
	}
	f.seen = seen
	renewed, err := f.load()
	if err != nil {
		f.changed(nil, err)
		return f.current, nil
	}
	f.current = renewed
	f.changed(renewed.Leaf, nil)
	return f.current, nil
}

func (f *Files) stamps() (s [2]stamp, err error) {
	for i, path := range []string{f.certFile, f.keyFile} {
		info, err := os.Stat(path)
		if err != nil {
			return s, fmt.Errorf("reading TLS files: %w", err)
		}
		s[i] = stamp{info.ModTime(), info.Size(), info}
	}
	return s, nil
}

// load reads both files and refuses a pair that clients would refuse, and a key that anybody on the machine can read.
func (f *Files) load() (*tls.Certificate, error) {
	info, err := os.Stat(f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading TLS key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("reading TLS key: %s must be a regular file that is closed to others (it is %v): chmod o= it", f.keyFile, info.Mode())
	}
	chain, err := configfile.Read(f.certFile, maxFile)
	if err != nil {
		return nil, fmt.Errorf("reading TLS certificate: %w", err)
	}
	key, err := configfile.Read(f.keyFile, maxFile)
	if err != nil {
		return nil, fmt.Errorf("reading TLS key: %w", err)
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("reading TLS certificate %s and key %s: %w", f.certFile, f.keyFile, err)
	}
	if end := certificate.Leaf.NotAfter; time.Now().After(end) {
		return nil, fmt.Errorf("reading TLS certificate: %s ended at %s", f.certFile, end.Format(time.RFC3339))
	}
	return &certificate, nil
}

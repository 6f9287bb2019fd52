// Package trust reads and writes what verifiers trust and what signers use:
// Sigstore's trusted_root.json and signing_config.json, as values.
//
// A [Root] names the certificate authorities, certificate logs, signature logs
// and timestamp authorities of one Sigstore, each with the window in which it
// may be relied on. Several roots are used side by side by name: private,
// public-good, a vendor's. A [SigningConfig] names the services' URLs; it
// grants no trust.
//
// Reading is strict: an unknown field, a missing validity start, a key of an
// unknown type or a duplicate log is an error that names the place. Nothing
// here is fetched; the package does no I/O but [Load].
package trust

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/tsp"
)

// MaxSize bounds a trusted root or signing config, in bytes. The public-good
// root has about 10 KiB after five years of rotations.
const MaxSize = 1 << 20

// Window is a period of validity. It is a closed interval: both ends are
// inside.
type Window struct {
	Start time.Time
	End   time.Time // zero if there is no end
}

// Contains reports whether t lies within the window.
func (w Window) Contains(t time.Time) bool {
	return !t.Before(w.Start) && (w.End.IsZero() || !t.After(w.End))
}

// String is the window for people, in UTC.
func (w Window) String() string {
	end := "open"
	if !w.End.IsZero() {
		end = w.End.UTC().Format(time.RFC3339)
	}
	return w.Start.UTC().Format(time.RFC3339) + " to " + end
}

// Root is one trusted_root.json. It is not changed after it was made and may
// be used by many goroutines.
type Root struct {
	// Name is how policies refer to the root; "" is never a name.
	Name string
	// Digest is the SHA-256 of the file's bytes.
	Digest [32]byte
	// Until is when what vouches for the root ends for good, such as the metadata
	// of the TUF repository that it came from. Nothing is verified under it from
	// then on. Zero for a root that nothing but its file vouches for.
	Until time.Time

	CertificateAuthorities []CertificateAuthority
	Logs                   []Log // signature logs (Rekor v1 and v2)
	CTLogs                 []Log // certificate logs
	TimestampAuthorities   []TimestampAuthority
}

// CertificateAuthority issues code-signing certificates.
type CertificateAuthority struct {
	URI           string
	Intermediates []*x509.Certificate
	Root          *x509.Certificate
	Window        Window

	own *ownChain // see Chain; nil if nothing is to be remembered
}

// Log is a signature log or a certificate log.
type Log struct {
	BaseURL string
	// ID is the log's key identifier: SHA-256 of the key's SubjectPublicKeyInfo,
	// or for Rekor v2 the signed-note key ID (core/tlog.KeyID).
	ID     [32]byte
	Key    crypto.PublicKey // ECDSA or Ed25519
	Window Window
}

// TimestampAuthority makes RFC 3161 timestamps.
type TimestampAuthority struct {
	URI       string
	Authority tsp.Authority
	Window    Window
}

// FindLog returns the signature log with the given ID, or nil.
func (r *Root) FindLog(id [32]byte) *Log { return find(r.Logs, id) }

// FindCTLog returns the certificate log with the given ID, or nil.
func (r *Root) FindCTLog(id [32]byte) *Log { return find(r.CTLogs, id) }

func find(logs []Log, id [32]byte) *Log {
	for i := range logs {
		if logs[i].ID == id {
			return &logs[i]
		}
	}
	return nil
}

// Load reads a trusted root from a regular file. The error names the file.
func Load(name, path string) (*Root, error) {
	data, err := configfile.Read(path, MaxSize)
	if err != nil {
		return nil, fmt.Errorf("reading trusted root: %w", err)
	}
	root, err := Parse(name, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return root, nil
}

// LoadSigningConfig reads a signing config from a regular file. The error
// names the file.
func LoadSigningConfig(path string) (*SigningConfig, error) {
	data, err := configfile.Read(path, MaxSize)
	if err != nil {
		return nil, fmt.Errorf("reading signing config: %w", err)
	}
	config, err := ParseSigningConfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// Parse reads a trusted_root.json (protobuf-specs TrustedRoot, media type
// version 0.1) under the given name.
//
// It is an error if any instance lacks its key, its log ID or the start of its
// validity, if two logs share an ID, or if a chain's certificates are not in
// place. Whether they issued each other is checked when an authority is first
// used, or with [Root.Check]. A signature log or certificate log whose key is of a type that is
// not supported here (such as ML-DSA) is left out: it can make nothing
// acceptable, and must not make the whole root unusable.
func Parse(name string, untrustedJSON []byte) (*Root, error) {
	if name == "" {
		return nil, errors.New("trusted root: its name is empty")
	}
	if len(untrustedJSON) > MaxSize {
		return nil, fmt.Errorf("trusted root: has %d bytes, the limit is %d", len(untrustedJSON), MaxSize)
	}
	root, err := parseRoot(untrustedJSON)
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	root.Name = name
	root.Digest = sha256.Sum256(untrustedJSON)
	return root, nil
}

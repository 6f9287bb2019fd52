package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/touchmark/touchmark/core/jsonguard"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tsp"
)

// mediaTypeRoot is the only media type that sigstore-go and its descendants
// accept.
const mediaTypeRoot = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

// maxInstances bounds each list of a trusted root.
const maxInstances = 64

// maxTokens bounds the JSON of a trusted root or signing config. One log has 30
// tokens, an authority with a chain of eight 100.
const maxTokens = 16 << 10

func parseRoot(data []byte) (*Root, error) {
	var w wireRoot
	if err := unmarshal(data, &w); err != nil {
		return nil, err
	}
	if w.MediaType != mediaTypeRoot {
		return nil, fmt.Errorf("mediaType is %q, want %q", jsonguard.Excerpt(w.MediaType), mediaTypeRoot)
	}
	for _, list := range []struct {
		name string
		n    int
	}{
		{"tlogs", len(w.Tlogs)}, {"ctlogs", len(w.CTLogs)},
		{"certificateAuthorities", len(w.CertificateAuthorities)}, {"timestampAuthorities", len(w.TimestampAuthorities)},
	} {
		if list.n > maxInstances {
			return nil, fmt.Errorf("%s has %d instances, the limit is %d", list.name, list.n, maxInstances)
		}
	}
	root := &Root{}
	var err error
	if root.Logs, err = parseLogs("tlogs", w.Tlogs); err != nil {
		return nil, err
	}
	if root.CTLogs, err = parseLogs("ctlogs", w.CTLogs); err != nil {
		return nil, err
	}
	for i, ca := range w.CertificateAuthorities {
		parsed, err := parseCA(ca)
		if err != nil {
			return nil, fmt.Errorf("certificateAuthorities[%d]: %w", i, err)
		}
		root.CertificateAuthorities = append(root.CertificateAuthorities, parsed)
	}
	for i, tsa := range w.TimestampAuthorities {
		parsed, err := parseTSA(tsa)
		if err != nil {
			return nil, fmt.Errorf("timestampAuthorities[%d]: %w", i, err)
		}
		root.TimestampAuthorities = append(root.TimestampAuthorities, parsed)
	}
	return root, nil
}

func parseLogs(list string, wire []wireLog) ([]Log, error) {
	var logs []Log
	seen := make(map[[32]byte]bool)
	for i, w := range wire {
		log, err := parseLog(w)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", list, i, err)
		}
		if log.Key == nil {
			continue
		}
		if seen[log.ID] {
			return nil, fmt.Errorf("%s[%d]: logId %x stands twice", list, i, log.ID)
		}
		seen[log.ID] = true
		logs = append(logs, log)
	}
	return logs, nil
}

// parseLog reads one log. Its key is nil if the key's type is not supported.
func parseLog(w wireLog) (Log, error) {
	if w.HashAlgorithm != hashSHA256 {
		return Log{}, fmt.Errorf("hashAlgorithm is %q, want %s", jsonguard.Excerpt(w.HashAlgorithm), hashSHA256)
	}
	id := w.LogID.KeyID
	if len(id) != 32 {
		return Log{}, fmt.Errorf("logId.keyId is missing or has %d bytes, want 32", len(id))
	}
	window, err := parseWindow(w.PublicKey.ValidFor)
	if err != nil {
		return Log{}, fmt.Errorf("publicKey.validFor: %w", err)
	}
	key, err := parseKey(w.PublicKey)
	if err != nil {
		return Log{}, fmt.Errorf("publicKey: %w", err)
	}
	log := Log{BaseURL: w.BaseURL, ID: [32]byte(id), Key: key, Window: window}
	return log, log.checkID(w.PublicKey.RawBytes)
}

// checkID refuses a log whose ID is not that of its key: entries would name one
// log and be verified with another's key.
func (l *Log) checkID(spki []byte) error {
	if l.Key == nil || l.ID == sha256.Sum256(spki) {
		return nil
	}
	if u, err := url.Parse(l.BaseURL); err == nil {
		if id, err := tlog.KeyID(u.Hostname(), l.Key); err == nil && id == l.ID {
			return nil
		}
	}
	return fmt.Errorf("logId %x is not the ID of its key, neither SHA-256 of publicKey.rawBytes nor the signed-note key ID under baseUrl's host", l.ID)
}

// parseKey reads a log's key; nil if keyDetails names a type that is not
// supported.
func parseKey(w wireKey) (crypto.PublicKey, error) {
	if len(w.RawBytes) == 0 {
		return nil, errors.New("rawBytes is missing")
	}
	switch w.KeyDetails {
	case keyP256, keyEd25519:
	case "", "PUBLIC_KEY_DETAILS_UNSPECIFIED":
		return nil, errors.New("keyDetails is missing")
	default:
		if slices.Contains(otherKeys, w.KeyDetails) {
			return nil, nil
		}
		return nil, fmt.Errorf("keyDetails %q is not a type of key", jsonguard.Excerpt(w.KeyDetails))
	}
	key, err := x509.ParsePKIXPublicKey(w.RawBytes)
	if err != nil {
		return nil, fmt.Errorf("rawBytes: %w", err)
	}
	ok := false
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		ok = w.KeyDetails == keyP256 && key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		ok = w.KeyDetails == keyEd25519
	}
	if !ok {
		return nil, fmt.Errorf("rawBytes is not a key of the type %s", w.KeyDetails)
	}
	return key, nil
}

func parseWindow(w wireRange) (Window, error) {
	if w.Start == nil {
		return Window{}, errors.New("start is missing")
	}
	window := Window{Start: time.Time(*w.Start)}
	if w.End != nil {
		if window.End = time.Time(*w.End); window.End.Before(window.Start) || window.End.IsZero() {
			return Window{}, errors.New("end lies before start")
		}
	}
	return window, nil
}

func parseChain(w wireChain) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for i, c := range w.Certificates {
		cert, err := x509.ParseCertificate(c.RawBytes)
		if err != nil {
			return nil, fmt.Errorf("certChain[%d]: %w", i, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// maxChain bounds an authority's chain.
const maxChain = 8

func checkLength(chain int) error {
	if chain == 0 || chain > maxChain {
		return fmt.Errorf("certChain has %d certificates, want 1 to %d", chain, maxChain)
	}
	return nil
}

func parseCA(w wireAuthority) (CertificateAuthority, error) {
	ca, err := parseAuthority(w)
	if err != nil {
		return CertificateAuthority{}, err
	}
	// A signer's own certificate trusted as an authority would vouch for itself.
	first := ca.Root
	if len(ca.Intermediates) > 0 {
		first = ca.Intermediates[0]
	}
	if !first.IsCA {
		return CertificateAuthority{}, errors.New("certChain[0] is not a certificate authority's")
	}
	ca.own = &ownChain{certificates: ca.chain()}
	return ca, nil
}

func parseAuthority(w wireAuthority) (CertificateAuthority, error) {
	window, err := parseWindow(w.ValidFor)
	if err != nil {
		return CertificateAuthority{}, fmt.Errorf("validFor: %w", err)
	}
	chain, err := parseChain(w.CertChain)
	if err != nil {
		return CertificateAuthority{}, err
	}
	if err := checkLength(len(chain)); err != nil {
		return CertificateAuthority{}, err
	}
	last := len(chain) - 1
	return CertificateAuthority{URI: w.URI, Intermediates: chain[:last], Root: chain[last], Window: window}, nil
}

func parseTSA(w wireAuthority) (TimestampAuthority, error) {
	ca, err := parseAuthority(w)
	if err != nil {
		return TimestampAuthority{}, err
	}
	a := TimestampAuthority{URI: ca.URI, Window: ca.Window, Authority: tsp.Authority{Intermediates: ca.Intermediates, Root: ca.Root}}
	if len(ca.Intermediates) == 0 || ca.Intermediates[0].IsCA {
		return TimestampAuthority{}, errors.New("certChain does not begin with the timestamping certificate; tokens that bring their own are not supported")
	}
	a.Authority.Leaf, a.Authority.Intermediates = ca.Intermediates[0], ca.Intermediates[1:]
	a.Authority = a.Authority.Remember()
	return a, nil
}

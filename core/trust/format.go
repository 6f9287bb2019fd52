package trust

import (
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Format writes a root as trusted_root.json, indented, in a form that every
// Sigstore client reads. Name and Digest are not part of it.
func Format(r *Root) ([]byte, error) {
	w := wireRoot{MediaType: mediaTypeRoot}
	var err error
	if w.Tlogs, err = formatLogs(r.Logs); err != nil {
		return nil, err
	}
	if w.CTLogs, err = formatLogs(r.CTLogs); err != nil {
		return nil, err
	}
	for _, ca := range r.CertificateAuthorities {
		w.CertificateAuthorities = append(w.CertificateAuthorities,
			formatCA(ca.URI, slices.Concat(ca.Intermediates, []*x509.Certificate{ca.Root}), ca.Window))
	}
	for _, tsa := range r.TimestampAuthorities {
		a := tsa.Authority
		chain := slices.Concat([]*x509.Certificate{a.Leaf}, a.Intermediates, []*x509.Certificate{a.Root})
		w.TimestampAuthorities = append(w.TimestampAuthorities, formatCA(tsa.URI, chain, tsa.Window))
	}
	return marshal(w)
}

// marshal writes indented JSON and a line break.
func marshal(w any) ([]byte, error) {
	out, err := json.Marshal(w, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return append(out, '\n'), nil
}

func formatLogs(logs []Log) ([]wireLog, error) {
	var out []wireLog
	for _, l := range logs {
		details := keyP256
		if _, ok := l.Key.(ed25519.PublicKey); ok {
			details = keyEd25519
		}
		spki, err := x509.MarshalPKIXPublicKey(l.Key)
		if err != nil {
			return nil, fmt.Errorf("encoding key of log %s: %w", l.BaseURL, err)
		}
		out = append(out, wireLog{
			BaseURL: l.BaseURL, HashAlgorithm: hashSHA256,
			PublicKey: wireKey{RawBytes: spki, KeyDetails: details, ValidFor: formatWindow(l.Window)},
			LogID:     wireLogID{KeyID: l.ID[:]},
		})
	}
	return out, nil
}

func formatCA(uri string, chain []*x509.Certificate, window Window) wireAuthority {
	top := chain[len(chain)-1].Subject
	w := wireAuthority{Subject: wireSubject{CommonName: top.CommonName}, URI: uri, ValidFor: formatWindow(window)}
	if len(top.Organization) > 0 {
		w.Subject.Organization = top.Organization[0]
	}
	for _, c := range chain {
		w.CertChain.Certificates = append(w.CertChain.Certificates, wireCertificate{c.Raw})
	}
	return w
}

func formatWindow(window Window) wireRange {
	stamp := func(t time.Time) *instant {
		i := instant(t.UTC().Truncate(time.Millisecond))
		return &i
	}
	w := wireRange{Start: stamp(window.Start)}
	if !window.End.IsZero() {
		w.End = stamp(window.End)
	}
	return w
}

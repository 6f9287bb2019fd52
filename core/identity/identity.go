// Package identity reads and writes who a Fulcio certificate was issued to.
//
// A Fulcio certificate names its subject in exactly one subject alternative
// name (an e-mail address, a URI, or a user name) and the OpenID Connect
// issuer that vouched for it, with further claims of CI providers, in
// extensions below 1.3.6.1.4.1.57264.1 (Fulcio's docs/oid-info.md). This is
// the project's only copy of those object identifiers: the certificate
// authority writes an [Identity] with [Identity.CertificateExtensions], the
// verifier and the monitor read it with [FromCertificate], and policies match
// it with a [Matcher].
//
// Reading is strict: what is present but malformed is an error, never taken
// for absent, and values are compared byte for byte (no case folding, no
// Unicode normalisation, no trailing-slash forgiveness).
package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind says which form of subject alternative name a [SAN] has. Two names of
// different kinds are never equal, whatever their text.
type Kind string

// The kinds of subject alternative name that Fulcio issues.
const (
	Email    Kind = "email"    // rfc822Name
	URI      Kind = "uri"      // uniformResourceIdentifier
	Username Kind = "username" // otherName 1.3.6.1.4.1.57264.1.7
)

// SAN is the one subject alternative name of a Fulcio certificate.
type SAN struct {
	Kind  Kind   `json:"kind"`
	Value string `json:"value"`
}

// Identity is whom a certificate was issued to, and on whose word.
type Identity struct {
	SAN SAN `json:"san"`
	// Issuer is the OpenID Connect issuer's URL, exactly as it stands in the
	// certificate (extensions 1.8 and 1.1). It is empty if the certificate has none
	// of Fulcio's extensions, as those of one's own authority; only a [Matcher]
	// that says so matches that.
	Issuer string `json:"issuer"`
	// Extensions are the claims of CI providers, empty where absent.
	Extensions Extensions `json:"extensions,omitzero"`
}

// maxName bounds a subject alternative name and an extension value, in bytes.
// Real ones are below 1 KiB; the bound keeps a hostile certificate's text out
// of verdicts and logs.
const maxName = 4096

var (
	oidSAN   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidArc   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	oidOther = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 7}
)

// FromCertificate reads the identity of a leaf certificate.
//
// It is an error if the certificate has no subject alternative name or more
// than one, if a name has a kind that Fulcio does not issue, if there are Fulcio
// extensions but no issuer, or if any Fulcio extension is present twice, has the wrong ASN.1
// type, trailing bytes, control characters or more than 4 KiB, or if the
// deprecated issuer extension (1.1) and its successor (1.8) disagree.
func FromCertificate(cert *x509.Certificate) (Identity, error) {
	san, err := parseSAN(cert)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{SAN: san}
	if err := id.parseExtensions(cert.Extensions); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// String names the identity in a sentence.
func (id Identity) String() string {
	if id.Issuer == "" {
		return id.SAN.Value + " (" + noIssuer + ")"
	}
	return fmt.Sprintf("%s (from %s)", id.SAN.Value, id.Issuer)
}

func parseSAN(cert *x509.Certificate) (SAN, error) {
	var raw []byte
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSAN) {
			continue
		}
		if raw != nil {
			return SAN{}, errors.New("certificate: subject alternative name extension stands twice")
		}
		raw = ext.Value
	}
	if raw == nil {
		return SAN{}, errors.New("certificate: no subject alternative name")
	}
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(raw, &names); err != nil || len(rest) != 0 {
		return SAN{}, errors.New("certificate: malformed subject alternative name")
	}
	if len(names) != 1 {
		return SAN{}, fmt.Errorf("certificate: %d subject alternative names, want exactly one", len(names))
	}
	name := names[0]
	if name.Class != asn1.ClassContextSpecific {
		return SAN{}, errors.New("certificate: malformed subject alternative name")
	}
	var san SAN
	switch name.Tag {
	case 0:
		value, err := parseOtherName(name.FullBytes)
		if err != nil {
			return SAN{}, err
		}
		san = SAN{Kind: Username, Value: value}
	case 1:
		san = SAN{Kind: Email, Value: string(name.Bytes)}
	case 6:
		san = SAN{Kind: URI, Value: string(name.Bytes)}
	default:
		return SAN{}, fmt.Errorf("certificate: subject alternative name has kind [%d]; only e-mail, URI and Fulcio user name are known", name.Tag)
	}
	if err := san.check(); err != nil {
		return SAN{}, fmt.Errorf("certificate: subject alternative name %w", err)
	}
	return san, nil
}

// check refuses a name whose text does not have its kind's form. The three
// forms have no text in common, so that a policy, which gives the text only,
// can never be satisfied by a name of another kind.
func (s SAN) check() error {
	if err := checkText(s.Value); err != nil {
		return err
	}
	ok := false
	switch s.Kind {
	case Email: // local@domain
		_, domain, found := strings.Cut(s.Value, "@")
		ok = found && !strings.Contains(s.Value, ":") && !strings.Contains(domain, "!")
	case URI: // scheme:rest
		u, err := url.Parse(s.Value)
		ok = err == nil && u.Scheme != ""
	case Username: // name!domain
		i := strings.LastIndexByte(s.Value, '!')
		ok = i > 0 && !strings.ContainsAny(s.Value[i:], "@") && !strings.Contains(s.Value, ":")
	default:
		return fmt.Errorf("has unknown kind %q", s.Kind)
	}
	if !ok {
		return fmt.Errorf("%q does not have the form of its kind (%s)", s.Value, s.Kind)
	}
	return nil
}

// otherName is RFC 5280's OtherName with Fulcio's value type.
type otherName struct {
	ID    asn1.ObjectIdentifier
	Value string `asn1:"tag:0,explicit,utf8"`
}

func parseOtherName(der []byte) (string, error) {
	var on otherName
	rest, err := asn1.UnmarshalWithParams(der, &on, "tag:0")
	if err != nil || len(rest) != 0 || !on.ID.Equal(oidOther) {
		return "", errors.New("certificate: subject alternative name is an otherName that is not Fulcio's user name (1.3.6.1.4.1.57264.1.7)")
	}
	return on.Value, nil
}

// checkText refuses text that could be mistaken for something else where it is
// shown or logged.
func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > maxName:
		return fmt.Errorf("is %d bytes long, the limit is %d", len(s), maxName)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("contains a control character")
	}
	return nil
}

// CertificateExtensions encodes the identity as certificate extensions in the
// order and form in which Fulcio writes them: the critical subject alternative
// name, the issuer twice (1.1 raw, 1.8 as UTF8String), then each further
// extension that is set.
func (id Identity) CertificateExtensions() ([]pkix.Extension, error) {
	san, err := id.SAN.extension()
	if err != nil {
		return nil, err
	}
	if err := checkText(id.Issuer); err != nil {
		return nil, fmt.Errorf("issuer %w", err)
	}
	exts, err := id.marshalExtensions()
	if err != nil {
		return nil, err
	}
	return append([]pkix.Extension{san}, exts...), nil
}

func (s SAN) extension() (pkix.Extension, error) {
	if err := s.check(); err != nil {
		return pkix.Extension{}, fmt.Errorf("subject alternative name %w", err)
	}
	name := asn1.RawValue{Class: asn1.ClassContextSpecific, Bytes: []byte(s.Value)}
	switch s.Kind {
	case Email:
		name.Tag = 1
	case URI:
		name.Tag = 6
	case Username:
		der, err := asn1.MarshalWithParams(otherName{ID: oidOther, Value: s.Value}, "tag:0")
		if err != nil {
			return pkix.Extension{}, fmt.Errorf("encoding user name: %w", err)
		}
		name = asn1.RawValue{FullBytes: der}
	}
	if s.Kind != Username && strings.ContainsFunc(s.Value, func(r rune) bool { return r > unicode.MaxASCII }) {
		return pkix.Extension{}, fmt.Errorf("subject alternative name %q: only ASCII can be written as %s", s.Value, s.Kind)
	}
	value, err := asn1.Marshal([]asn1.RawValue{name})
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encoding subject alternative name: %w", err)
	}
	return pkix.Extension{Id: oidSAN, Critical: true, Value: value}, nil
}

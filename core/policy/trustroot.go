package policy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
)

// maxServices bounds each list of a TrustRoot.
const maxServices = 64

// trustRoot reads a TrustRoot document that holds its keys. One that is to be
// fetched is refused: reading a policy is no time to follow TUF, and
// "touchmark trust fetch" does it and keeps what it has seen.
func (a *assembly) trustRoot(doc value) {
	f := doc.fields("apiVersion", "kind", "metadata", "spec", "status")
	name := a.name(f, "trust root")
	spec, ok := f.require("spec")
	if !ok {
		return
	}
	g := spec.fields("remote", "repository", "sigstoreKeys")
	g.refuse("remote", `fetch it with "touchmark trust fetch", and load the trusted_root.json that it writes under this name`)
	g.refuse("repository", `unpack it, verify it with "touchmark trust fetch", and load the trusted_root.json that it writes under this name`)
	if g.exactlyOne("remote", "repository", "sigstoreKeys") != "sigstoreKeys" {
		return
	}
	keys, _ := g.get("sigstoreKeys")
	before := len(a.r.errs)
	root := readSigstoreKeys(keys)
	if len(a.r.errs) > before || name == "" {
		return
	}
	// Written and read again, so that a root in a policy is held to what any other
	// trusted_root.json is.
	root.Name = name
	text, err := trust.Format(root)
	if err == nil {
		root, err = trust.Parse(name, text)
	}
	if err == nil {
		err = root.Check()
	}
	if err != nil {
		keys.fail("%v", err)
		return
	}
	a.out.Roots = append(a.out.Roots, root)
}

// always is the validity of what a TrustRoot names: the format has no other.
func always() trust.Window { return trust.Window{Start: time.Unix(0, 0).UTC()} }

func readSigstoreKeys(v value) *trust.Root {
	f := v.fields("certificateAuthorities", "tLogs", "ctLogs", "timestampAuthorities")
	if !f.has("certificateAuthorities") && !f.has("timestampAuthorities") {
		v.fail("names neither certificateAuthorities nor timestampAuthorities")
	}
	root := &trust.Root{}
	for _, ca := range certificateAuthorities(f) {
		uri, chain, ok := readService(ca, parseChain)
		if !ok {
			continue
		}
		last := len(chain) - 1
		root.CertificateAuthorities = append(root.CertificateAuthorities, trust.CertificateAuthority{
			URI: uri, Intermediates: chain[:last], Root: chain[last], Window: always(),
		})
	}
	for _, tsa := range f.list("timestampAuthorities", maxServices) {
		uri, chain, ok := readService(tsa, parseTimestampChain)
		if !ok {
			continue
		}
		last := len(chain) - 1
		root.TimestampAuthorities = append(root.TimestampAuthorities, trust.TimestampAuthority{
			URI: uri, Window: always(), Authority: tsp.Authority{Leaf: chain[0], Intermediates: chain[1:last], Root: chain[last]},
		})
	}
	for _, log := range f.list("tLogs", maxServices) {
		if l, ok := readTransparencyLog(log, tlog.KeyID); ok {
			root.Logs = append(root.Logs, l)
		}
	}
	for _, log := range f.list("ctLogs", maxServices) {
		if l, ok := readTransparencyLog(log, ctLogID); ok {
			root.CTLogs = append(root.CTLogs, l)
		}
	}
	return root
}

// certificateAuthorities may be an empty list beside timestamp authorities: the
// field is never left out of what kubectl prints.
func certificateAuthorities(f fields) []value {
	v, ok := f.get("certificateAuthorities")
	if ok && v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0 && f.has("timestampAuthorities") {
		return nil
	}
	return f.list("certificateAuthorities", maxServices)
}

// readService reads a certificate or timestamp authority.
func readService(v value, parse func(string) ([]*x509.Certificate, error)) (uri string, chain []*x509.Certificate, ok bool) {
	f := v.fields("subject", "uri", "certChain")
	if subject, ok := f.get("subject"); ok { // for people: the certificates say it
		g := subject.fields("organization", "commonName")
		g.text("organization")
		g.text("commonName")
	}
	uri = f.requireText("uri")
	text, given := f.require("certChain")
	if !given {
		return "", nil, false
	}
	pemText, given := text.base64()
	if !given {
		return "", nil, false
	}
	chain, err := parse(string(pemText))
	if err != nil {
		text.fail("%v", err)
		return "", nil, false
	}
	return uri, chain, uri != ""
}

// parseTimestampChain reads a chain that begins with the certificate that signs
// timestamps.
func parseTimestampChain(text string) ([]*x509.Certificate, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New(`is not a chain of PEM blocks of type "CERTIFICATE"`)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if leaf.IsCA {
		return nil, errors.New("does not begin with the timestamping certificate; timestamps that bring their own are not supported")
	}
	chain, err := parseChain(string(rest))
	if err != nil {
		return nil, err
	}
	return append([]*x509.Certificate{leaf}, chain...), nil
}

// readTransparencyLog reads a log. Its ID is made from the key, and for Rekor
// v2 from its host too, which is its name in checkpoints.
func readTransparencyLog(v value, id func(host string, key crypto.PublicKey) ([32]byte, error)) (trust.Log, bool) {
	f := v.fields("baseURL", "hashAlgorithm", "publicKey")
	base := f.requireText("baseURL")
	if hash, ok := f.require("hashAlgorithm"); ok {
		hash.choice("sha256", "sha-256")
	}
	text, ok := f.require("publicKey")
	if !ok || base == "" {
		return trust.Log{}, false
	}
	pemText, ok := text.base64()
	if !ok {
		return trust.Log{}, false
	}
	key, err := parseLogKey(pemText)
	if err != nil {
		text.fail("%v", err)
		return trust.Log{}, false
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		v.fail("baseURL %q is not a URL", base)
		return trust.Log{}, false
	}
	log := trust.Log{BaseURL: base, Key: key, Window: always()}
	if log.ID, err = id(u.Host, key); err != nil {
		text.fail("%v", err)
		return trust.Log{}, false
	}
	return log, true
}

// parseLogKey reads a key of a type that logs may have: trust.Parse would leave
// a log with another out without a word.
func parseLogKey(pemText []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(pemText)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New(`is not one PEM block of type "PUBLIC KEY"`)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return key, nil
		}
	case ed25519.PublicKey:
		return key, nil
	}
	return nil, fmt.Errorf("its type (%T) or size is not supported; logs have ECDSA P-256 or Ed25519 keys", key)
}

// ctLogID is the ID of a certificate log (RFC 6962, 3.2), which knows no name.
func ctLogID(_ string, key crypto.PublicKey) ([32]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	return sha256.Sum256(spki), err
}

// base64 reads bytes as Kubernetes writes them.
func (v value) base64() ([]byte, bool) {
	text := v.text()
	if text == "" {
		return nil, false
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		v.fail("is not base64: %v", err)
		return nil, false
	}
	return data, true
}

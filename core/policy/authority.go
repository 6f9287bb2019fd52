package policy

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// maxChain bounds a chain of certificates.
const maxChain = 8

func readAuthority(v value) *Authority {
	f := v.fields("name", "key", "keyless", "static", "source", "ctlog", "attestations", "rfc3161timestamp", "signatureFormat")
	a := &Authority{Name: f.text("name")}
	kind := f.exactlyOne("key", "keyless", "static")
	if kind == "" {
		return a
	}
	way, _ := f.get(kind)
	if kind == "static" {
		a.readStatic(f, way)
		return a
	}
	a.readLog(f)
	a.readTimestamp(f)
	a.readSource(f)
	if format, ok := f.get("signatureFormat"); ok {
		a.Format = bundle.Form(format.choice(string(bundle.FormLegacy), string(bundle.FormBundle)))
	}
	a.Attestations = readAttestations(f)
	if kind == "key" {
		a.Key, a.KeyHash = readKey(way)
		// A key has no trust root of its own: it is the log's or, without a log, the
		// timestamps'. A log of no named root must not be taken from theirs.
		if a.TrustRoot = a.LogTrustRoot; !a.RequireLog {
			a.TrustRoot = a.TimestampTrustRoot
		}
	} else {
		a.readKeyless(way)
	}
	return a
}

func (a *Authority) readStatic(f fields, v value) {
	for _, name := range []string{"source", "ctlog", "attestations", "rfc3161timestamp", "signatureFormat"} {
		if given, ok := f.get(name); ok {
			given.fail("has no meaning beside static")
		}
	}
	g := v.fields("action", "message")
	a.Static = &Static{Message: g.text("message")}
	if action, ok := g.require("action"); ok {
		a.Static.Pass = action.choice("pass", "fail") == "pass"
	}
}

// readLog reads a ctlog. "ctlog:" with nothing behind it is an error like every
// empty value: who wrote it wants a log.
func (a *Authority) readLog(f fields) {
	v, ok := f.get("ctlog")
	if !ok {
		return
	}
	g := v.fields("url", "trustRootRef")
	a.RequireLog, a.LogURL, a.LogTrustRoot = true, g.text("url"), g.text("trustRootRef")
}

func (a *Authority) readTimestamp(f fields) {
	v, ok := f.get("rfc3161timestamp")
	if !ok {
		return
	}
	a.RequireTimestamp, a.TimestampTrustRoot = true, v.fields("trustRootRef").text("trustRootRef")
}

// readSource reads where the evidence lies. Several sources have no meaning in
// policy-controller either, which lets the last one win.
func (a *Authority) readSource(f fields) {
	for _, v := range f.list("source", 1) {
		g := v.fields("oci", "tagPrefix", "signaturePullSecrets")
		g.onlyCluster("signaturePullSecrets")
		var s Source
		if oci, ok := g.get("oci"); ok {
			if text := oci.text(); text != "" {
				repository, err := logicalRepository(text)
				if err != nil {
					oci.fail("%v", err)
				}
				s.Repository = repository
			}
		}
		if prefix, ok := g.get("tagPrefix"); ok {
			if s.TagPrefix = prefix.text(); strings.Trim(s.TagPrefix, tagCharacters) != "" || len(s.TagPrefix) > maxTagPrefix {
				prefix.fail("%q cannot stand in a tag", s.TagPrefix)
			}
		}
		if s == (Source{}) && !g.has("signaturePullSecrets") {
			v.fail("says neither oci nor tagPrefix")
			continue
		}
		if s != (Source{}) {
			a.Sources = append(a.Sources, s)
		}
	}
}

// tagCharacters may stand in a tag, which has 128 of them at most; cosign's
// tags have 71 and ".sig" behind the prefix.
const (
	tagCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	maxTagPrefix  = 128 - len("sha256-.sig") - 64
)

// readKey reads a key, and the hash that its signatures are over if it is not
// the one that goes with the key.
func readKey(v value) (crypto.PublicKey, crypto.Hash) {
	f := v.fields("data", "secretRef", "kms", "hashAlgorithm")
	f.refuse("secretRef", "secrets are in a Kubernetes cluster only; write the public key into data, or name its file in kms")
	var pub crypto.PublicKey
	var err error
	switch f.exactlyOne("data", "kms", "secretRef") {
	case "data":
		data, _ := f.get("data")
		if text := data.text(); text != "" {
			if pub, err = parsePublicKey(text); err != nil {
				data.fail("%v", err)
			}
		}
	case "kms":
		kms, _ := f.get("kms")
		pub = kms.publicKey()
	}
	return pub, readHash(f, pub)
}

// publicKey asks for the key that a KMS URI or the path of a file names.
func (v value) publicKey() crypto.PublicKey {
	ref := v.text()
	if ref == "" {
		return nil
	}
	if v.r.options.Resolve == nil {
		v.fail("this program reads no keys from elsewhere; write the public key into data")
		return nil
	}
	if scheme, _, found := strings.Cut(ref, ":"); !found || strings.ContainsAny(scheme, "/.") {
		ref = v.r.path(ref)
	}
	pub, err := v.r.options.Resolve.PublicKey(v.r.ctx, ref)
	if err != nil {
		v.fail("%v", err)
		return nil
	}
	if err := checkPublicKey(pub); err != nil {
		v.fail("%v", err)
		return nil
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		v.fail("%v", err)
		return nil
	}
	v.r.fetched = append(v.r.fetched, spki)
	return pub
}

// path gives a path in a file its meaning: relative to the file.
func (r *reader) path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.dir, path)
}

// fetch reads what lies at a URL or in a file; nil if it cannot be had.
func (v value) fetch(ref string) []byte {
	if v.r.options.Resolve == nil {
		v.fail("this program reads nothing from elsewhere")
		return nil
	}
	data, err := v.r.options.Resolve.Fetch(v.r.ctx, ref)
	switch {
	case err != nil:
		v.fail("%v", err)
		return nil
	case len(data) == 0:
		v.fail("%s is empty", ref)
		return nil
	}
	v.r.fetched = append(v.r.fetched, data)
	return data
}

// readHash reads hashAlgorithm; 0 means that none is named.
func readHash(f fields, pub crypto.PublicKey) crypto.Hash {
	v, ok := f.get("hashAlgorithm")
	if !ok || pub == nil {
		return 0
	}
	hash := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}[v.choice("sha256", "sha384", "sha512")]
	if _, isEd25519 := pub.(ed25519.PublicKey); isEd25519 {
		v.fail("an Ed25519 key signs without a hash of its own; leave it out")
		return 0
	}
	return hash
}

func parsePublicKey(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New(`is not one PEM block of type "PUBLIC KEY"`)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return pub, checkPublicKey(pub)
}

func checkPublicKey(pub crypto.PublicKey) error {
	if _, err := entry.HashFor(pub); err != nil {
		return fmt.Errorf("its type (%T) or size is not supported", pub)
	}
	return nil
}

func (a *Authority) readKeyless(v value) {
	f := v.fields("url", "identities", "trustRootRef", "insecureIgnoreSCT", "ca-cert")
	a.CAURL, a.TrustRoot, a.InsecureIgnoreSCT = f.text("url"), f.text("trustRootRef"), f.bool("insecureIgnoreSCT")
	if ca, ok := f.get("ca-cert"); ok {
		if f.has("url") {
			ca.fail("url is given too; a certificate authority is named by one of them")
		}
		a.CACert = readCACert(ca)
	}
	list, ok := f.get("identities")
	if f.broken {
		return
	}
	if !ok || len(list.node.Content) == 0 {
		v.r.fail(v.node.Line, v.child("identities"), "there is none: a certificate that anybody can get proves nothing")
		return
	}
	for _, id := range list.list(maxIdentities) {
		if m, spec := readIdentity(id, a.CACert != nil); m != nil {
			a.Identities, a.specs = append(a.Identities, m), append(a.specs, spec)
		}
	}
}

// readIdentity returns nil if something is wrong with it. Where the authority is
// one's own, an identity without an issuer is that of certificates which name
// none; anywhere else it is a mistake.
func readIdentity(v value, ownPKI bool) (*identity.Matcher, identity.Spec) {
	f := v.fields("issuer", "issuerRegExp", "subject", "subjectRegExp")
	before := len(v.r.errs)
	spec := identity.Spec{
		Issuer: f.text("issuer"), IssuerRegExp: f.text("issuerRegExp"), Subject: f.text("subject"), SubjectRegExp: f.text("subjectRegExp"),
	}
	if len(v.r.errs) > before {
		return nil, spec
	}
	spec.NoIssuer = ownPKI && spec.Issuer == "" && spec.IssuerRegExp == ""
	m, err := identity.NewMatcher(spec)
	if err != nil {
		v.fail("%v", err)
	}
	return m, spec
}

// readCACert reads a chain of certificates, each issued by the next.
func readCACert(v value) []*x509.Certificate {
	f := v.fields("data", "secretRef", "kms", "hashAlgorithm")
	f.refuse("secretRef", "secrets are in a Kubernetes cluster only; write the certificates into data")
	f.refuse("kms", "a KMS holds keys; write the certificates into data")
	f.refuse("hashAlgorithm", "the certificates say it themselves")
	data, ok := f.require("data")
	if !ok {
		return nil
	}
	chain, err := parseChain(data.text())
	if err != nil {
		data.fail("%v", err)
	}
	return chain
}

// parseChain reads PEM certificates, an issuing authority's first and its root
// last.
func parseChain(text string) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New(`is not a chain of PEM blocks of type "CERTIFICATE"`)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if chain = append(chain, cert); len(chain) > maxChain {
			return nil, fmt.Errorf("has more than %d certificates", maxChain)
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("holds no certificate")
	}
	for i, cert := range chain {
		if !cert.IsCA {
			return nil, fmt.Errorf("certificate %d is not a certificate authority's", i+1)
		}
		if i+1 < len(chain) {
			if err := cert.CheckSignatureFrom(chain[i+1]); err != nil {
				return nil, fmt.Errorf("certificate %d was not issued by certificate %d: %w", i+1, i+2, err)
			}
		}
	}
	return chain, nil
}

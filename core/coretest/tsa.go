package coretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	_ "crypto/sha1" // for tokens that must be refused
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/tsp"
)

// TSA is a timestamp authority. Its fields may be changed to make a wrong one.
type TSA struct {
	Key          crypto.Signer
	Leaf         *x509.Certificate
	Intermediate *x509.Certificate
	Root         *x509.Certificate

	IntermediateKey, RootKey crypto.Signer
}

// oidExtKeyUsage is written by hand, as crypto/x509 never marks it critical.
var oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}

// TimestampingEKU is the extended key usage of a timestamp authority: timeStamping alone, critical unless said otherwise.
func TimestampingEKU(tb testing.TB, critical bool) pkix.Extension {
	tb.Helper()
	value := marshal(tb, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	return pkix.Extension{Id: oidExtKeyUsage, Critical: critical, Value: value}
}

// NewTSA makes an authority that signs with key (nil: a new ECDSA P-256 key) and is valid around now. Each edit may change the leaf's template.
func NewTSA(tb testing.TB, now time.Time, key crypto.Signer, edits ...func(leaf *x509.Certificate)) *TSA {
	tb.Helper()
	if key == nil {
		key = NewKey(tb)
	}
	a := &TSA{Key: key, IntermediateKey: NewKey(tb), RootKey: NewKey(tb)}
	a.Root = Issue(tb, authorityTemplate("tsa root", now), nil, a.RootKey.Public(), a.RootKey)
	intermediate := authorityTemplate("tsa intermediate", now, x509.ExtKeyUsageTimeStamping)
	a.Intermediate = Issue(tb, intermediate, a.Root, a.IntermediateKey.Public(), a.RootKey)
	leaf := &x509.Certificate{
		Subject:         pkixName("tsa"),
		NotBefore:       a.Root.NotBefore,
		NotAfter:        a.Root.NotAfter,
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{TimestampingEKU(tb, true)},
	}
	for _, edit := range edits {
		edit(leaf)
	}
	a.Leaf = Issue(tb, leaf, a.Intermediate, key.Public(), a.IntermediateKey)
	return a
}

// Authority returns what a verifier trusts.
func (a *TSA) Authority() tsp.Authority {
	return tsp.Authority{Leaf: a.Leaf, Intermediates: []*x509.Certificate{a.Intermediate}, Root: a.Root}
}

// Stamp returns the authority's answer for a message at a time: SHA-256, no nonce, no certificates.
func (a *TSA) Stamp(tb testing.TB, message []byte, at time.Time) []byte {
	tb.Helper()
	return a.Response(tb, TimestampSpec{Message: message, Time: at})
}

// Attribute is a signed attribute with one value (or several, when Value is their concatenation).
type Attribute struct {
	Type  asn1.ObjectIdentifier
	Value []byte
}

// TimestampSpec describes an answer piece by piece. Zero values give the right piece; the others are for tests of attacks.
type TimestampSpec struct {
	Message    []byte
	Time       time.Time
	Imprint    crypto.Hash // of the message; default SHA-256
	Digest     crypto.Hash // of the content and for the signature; default SHA-256
	Nonce      *big.Int
	Extensions []pkix.Extension // of TSTInfo
	Embed      []*x509.Certificate
	Status     int // PKIStatus; default granted

	// Info, when not nil, changes the DER TSTInfo before it is signed.
	Info func(der []byte) []byte
	// Attributes, when not nil, changes the signed attributes before they are signed. They are sorted afterwards unless KeepOrder is set.
	Attributes func([]Attribute) []Attribute
	KeepOrder  bool
	// Signer, when not nil, changes the signer's information before it is encoded.
	Signer func(*SignerInfo)
	// SignerInfos is how often the signer's information is repeated; default 1, -1 for none.
	SignerInfos int
}

// SignerInfo is the part of a token that names and holds the signature, in the order of RFC 5652 section 5.3.
type SignerInfo struct {
	Version            int
	SID                IssuerAndSerial
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignedAttributes   asn1.RawValue
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
}

// IssuerAndSerial names a certificate.
type IssuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

// Object identifiers of tokens, for tests that replace them.
var (
	OIDContentType          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	OIDMessageDigest        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	OIDSigningTime          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	OIDTSTInfo              = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	OIDSigningCertificate   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	OIDSigningCertificateV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}

	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

var hashOIDs = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.SHA1:   {1, 3, 14, 3, 2, 26},
	crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
	crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2},
	crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
}

// Response returns the DER TimeStampResp that spec describes.
func (a *TSA) Response(tb testing.TB, spec TimestampSpec) []byte {
	tb.Helper()
	info := a.info(tb, spec)
	signer := a.sign(tb, spec, info)
	var certificates []byte
	for _, c := range spec.Embed {
		certificates = append(certificates, c.Raw...)
	}
	count := max(spec.SignerInfos, 0)
	if spec.SignerInfos == 0 {
		count = 1
	}
	var signers []byte
	for range count {
		signers = append(signers, marshal(tb, signer)...)
	}
	type encapsulated struct {
		Type    asn1.ObjectIdentifier
		Content []byte `asn1:"explicit,tag:0"`
	}
	type signedData struct {
		Version      int
		Algorithms   []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      encapsulated
		Certificates asn1.RawValue `asn1:"optional"`
		Signers      asn1.RawValue
	}
	data := signedData{
		Version:    3,
		Algorithms: []pkix.AlgorithmIdentifier{signer.DigestAlgorithm},
		Content:    encapsulated{OIDTSTInfo, info},
		Signers:    asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: signers},
	}
	if len(certificates) > 0 {
		data.Certificates = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: certificates}
	}
	type contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	type status struct{ Status int }
	return marshal(tb, struct {
		Status status
		Token  contentInfo
	}{status{spec.Status}, contentInfo{oidSignedData, data}})
}

// info encodes the TSTInfo.
func (a *TSA) info(tb testing.TB, spec TimestampSpec) []byte {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		tb.Fatal(err)
	}
	hash := orSHA256(spec.Imprint)
	type imprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Hashed    []byte
	}
	der := marshal(tb, struct {
		Version    int
		Policy     asn1.ObjectIdentifier
		Imprint    imprint
		Serial     *big.Int
		Time       time.Time        `asn1:"generalized"`
		Nonce      *big.Int         `asn1:"optional"`
		Extensions []pkix.Extension `asn1:"optional,omitempty,tag:1"`
	}{1, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, imprint{algorithm(hashOIDs[hash], true), digest(hash, spec.Message)}, serial, spec.Time.UTC(), spec.Nonce, spec.Extensions})
	if spec.Info != nil {
		der = spec.Info(der)
	}
	return der
}

// sign makes the signer's information over the content.
func (a *TSA) sign(tb testing.TB, spec TimestampSpec, content []byte) SignerInfo {
	tb.Helper()
	hash := orSHA256(spec.Digest)
	attributes := []Attribute{
		{OIDContentType, marshal(tb, OIDTSTInfo)},
		{OIDMessageDigest, marshal(tb, digest(hash, content))},
		{OIDSigningCertificateV2, SigningCertificateV2(tb, a.Leaf)},
	}
	if spec.Attributes != nil {
		attributes = spec.Attributes(attributes)
	}
	signed := encodeAttributes(tb, attributes, spec.KeepOrder)
	set := marshal(tb, asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: signed})
	input, opts := digest(hash, set), crypto.SignerOpts(hash)
	oid := map[crypto.Hash]asn1.ObjectIdentifier{
		crypto.SHA1: {1, 2, 840, 10045, 4, 1}, crypto.SHA256: {1, 2, 840, 10045, 4, 3, 2},
		crypto.SHA384: {1, 2, 840, 10045, 4, 3, 3}, crypto.SHA512: {1, 2, 840, 10045, 4, 3, 4},
	}[hash]
	switch a.Key.Public().(type) {
	case *ecdsa.PublicKey:
	case ed25519.PublicKey:
		input, opts, oid = set, crypto.Hash(0), asn1.ObjectIdentifier{1, 3, 101, 112}
	default: // RSA
		oid = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	}
	signature, err := a.Key.Sign(rand.Reader, input, opts)
	if err != nil {
		tb.Fatal(err)
	}
	s := SignerInfo{
		Version:            1,
		SID:                IssuerAndSerial{asn1.RawValue{FullBytes: a.Leaf.RawIssuer}, a.Leaf.SerialNumber},
		DigestAlgorithm:    algorithm(hashOIDs[hash], false),
		SignedAttributes:   asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: signed},
		SignatureAlgorithm: algorithm(oid, false),
		Signature:          signature,
	}
	if spec.Signer != nil {
		spec.Signer(&s)
	}
	return s
}

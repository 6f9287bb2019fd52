// Package entry builds the bodies of transparency log entries, the leaves of
// Sigstore's signature logs, and the signed entry timestamps (SET) of Rekor v1.
//
// A verifier never trusts the canonicalized body that comes with a bundle: it
// rebuilds the body here from the digest, signature and key that it has
// verified itself, and looks for the leaf hash of that. The log builds what it
// stores with the same functions, so that both agree byte for byte. Bodies are
// JSON in the canonical form of RFC 8785 (sorted keys, no white space).
package entry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Kinds and versions of log entries, as they stand in a bundle's kindVersion.
const (
	KindHashedRekord = "hashedrekord"
	KindDSSE         = "dsse"
	KindIntoto       = "intoto"
	V001             = "0.0.1"
	V002             = "0.0.2"
)

// Every string in a body is hexadecimal, base64 or one of a few fixed words,
// so that encoding/json's output is already canonical once the struct fields
// stand in alphabetical order.

type body struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       any    `json:"spec"`
}

type hashValue struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

// b64 is bytes that are written as a base64 string (as []byte is, but under a
// name that says so).
type b64 = []byte

type hashedRekordV001 struct {
	Data struct {
		Hash hashValue `json:"hash"`
	} `json:"data"`
	Signature struct {
		Content   b64 `json:"content"`
		PublicKey struct {
			Content b64 `json:"content"`
		} `json:"publicKey"`
	} `json:"signature"`
}

// HashedRekordV001 builds the body of a Rekor v1 hashedrekord 0.0.1 entry.
// The hash is SHA-256, SHA-384 or SHA-512 and the digest has its length;
// verifierPEM is [CertificatePEM] or [PublicKeyPEM] of the signer.
func HashedRekordV001(hash crypto.Hash, digest, signature, verifierPEM []byte) ([]byte, error) {
	name, err := hashName(hash)
	if err != nil {
		return nil, err
	}
	if len(digest) != hash.Size() {
		return nil, fmt.Errorf("hashedrekord entry: digest has %d bytes, %s has %d", len(digest), name, hash.Size())
	}
	var spec hashedRekordV001
	spec.Data.Hash = hashValue{Algorithm: name, Value: hex.EncodeToString(digest)}
	spec.Signature.Content = signature
	spec.Signature.PublicKey.Content = verifierPEM
	return marshal(KindHashedRekord, V001, spec)
}

type dsseV001 struct {
	EnvelopeHash hashValue       `json:"envelopeHash"`
	PayloadHash  hashValue       `json:"payloadHash"`
	Signatures   []dsseSignature `json:"signatures"`
}

type dsseSignature struct {
	Signature b64 `json:"signature"`
	Verifier  b64 `json:"verifier"`
}

// DSSEV001 builds the body of a Rekor v1 dsse 0.0.1 entry for an envelope with
// one signature. envelopeSHA256 is the hash of the envelope's JSON as it was
// sent to the log: only the log knows those bytes, so a verifier takes this one
// value from the body that came with the bundle.
func DSSEV001(envelopeSHA256, payloadSHA256 [32]byte, signature, verifierPEM []byte) ([]byte, error) {
	return marshal(KindDSSE, V001, dsseV001{
		EnvelopeHash: sha256Value(envelopeSHA256),
		PayloadHash:  sha256Value(payloadSHA256),
		Signatures:   []dsseSignature{{Signature: signature, Verifier: verifierPEM}},
	})
}

type intotoV001 struct {
	Content struct {
		Hash        hashValue  `json:"hash"`
		PayloadHash *hashValue `json:"payloadHash,omitempty"`
	} `json:"content"`
	PublicKey b64 `json:"publicKey"`
}

// IntotoV001 builds the body of a Rekor v1 intoto 0.0.1 entry, which cosign made
// for attestations. envelopeSHA256 is the hash of the envelope's JSON, the only
// thing in it that is about the signature. The first entries of this kind
// had no hash of the payload: nil.
func IntotoV001(envelopeSHA256 [32]byte, payloadSHA256 *[32]byte, verifierPEM []byte) ([]byte, error) {
	var spec intotoV001
	spec.Content.Hash = sha256Value(envelopeSHA256)
	if payloadSHA256 != nil {
		h := sha256Value(*payloadSHA256)
		spec.Content.PayloadHash = &h
	}
	spec.PublicKey = verifierPEM
	return marshal(KindIntoto, V001, spec)
}

type intotoV002 struct {
	Content struct {
		Envelope struct {
			PayloadType string            `json:"payloadType"`
			Signatures  []intotoSignature `json:"signatures"`
		} `json:"envelope"`
		Hash        hashValue `json:"hash"`
		PayloadHash hashValue `json:"payloadHash"`
	} `json:"content"`
}

type intotoSignature struct {
	KeyID     string `json:"keyid,omitempty"`
	PublicKey b64    `json:"publicKey"`
	Sig       b64    `json:"sig"` // base64 of the base64 text of the signature
}

// IntotoV002 builds the body of a Rekor v1 intoto 0.0.2 entry, which clients
// up to 2023 made for DSSE envelopes. envelopeSHA256 is the log's own, as in
// [DSSEV001]; payloadType must be the in-toto media type.
func IntotoV002(envelopeSHA256, payloadSHA256 [32]byte, payloadType, keyID string, signature, verifierPEM []byte) ([]byte, error) {
	if payloadType != "application/vnd.in-toto+json" {
		return nil, errors.New("intoto entry: its payload type is not in-toto's")
	}
	for _, r := range keyID {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&' {
			return nil, errors.New("intoto entry: its key ID is not plain text")
		}
	}
	var spec intotoV002
	spec.Content.Envelope.PayloadType = payloadType
	spec.Content.Envelope.Signatures = []intotoSignature{{
		KeyID:     keyID,
		PublicKey: verifierPEM,
		Sig:       []byte(base64.StdEncoding.EncodeToString(signature)),
	}}
	spec.Content.Hash = sha256Value(envelopeSHA256)
	spec.Content.PayloadHash = sha256Value(payloadSHA256)
	return marshal(KindIntoto, V002, spec)
}

// Verifier is the signer of a Rekor v2 entry: a certificate or, where
// Certificate is nil, a bare public key.
type Verifier struct {
	Certificate []byte           // DER
	Key         crypto.PublicKey // the certificate's key, or the bare key
}

type hashedRekordV002 struct {
	HashedRekordV002 struct {
		Data struct {
			Algorithm string `json:"algorithm"`
			Digest    b64    `json:"digest"`
		} `json:"data"`
		Signature struct {
			Content  b64        `json:"content"`
			Verifier verifierV2 `json:"verifier"`
		} `json:"signature"`
	} `json:"hashedRekordV002"`
}

type verifierV2 struct {
	KeyDetails      string    `json:"keyDetails"`
	PublicKey       *rawBytes `json:"publicKey,omitempty"`
	X509Certificate *rawBytes `json:"x509Certificate,omitempty"`
}

type rawBytes struct {
	RawBytes b64 `json:"rawBytes"`
}

// HashedRekordV002 builds the body of a Rekor v2 hashedrekord 0.0.2 entry. For
// a DSSE envelope the digest is that of its pre-authentication encoding. The
// digest's algorithm and the key details follow from the key ([HashFor]).
func HashedRekordV002(digest, signature []byte, v Verifier) ([]byte, error) {
	hash, details, err := algorithmV2(v.Key)
	if err != nil {
		return nil, err
	}
	if len(digest) != hash.Size() {
		return nil, fmt.Errorf("hashedrekord entry: digest has %d bytes, %s has %d", len(digest), hash, hash.Size())
	}
	var spec hashedRekordV002
	in := &spec.HashedRekordV002
	in.Data.Algorithm = fmt.Sprintf("SHA2_%d", 8*hash.Size())
	in.Data.Digest = digest
	in.Signature.Content = signature
	in.Signature.Verifier.KeyDetails = details
	if v.Certificate != nil {
		in.Signature.Verifier.X509Certificate = &rawBytes{v.Certificate}
	} else {
		spki, err := x509.MarshalPKIXPublicKey(v.Key)
		if err != nil {
			return nil, fmt.Errorf("encoding public key: %w", err)
		}
		in.Signature.Verifier.PublicKey = &rawBytes{spki}
	}
	return marshal(KindHashedRekord, V002, spec)
}

// algorithmV2 is Rekor v2's table of key details (sigstore's algorithm
// registry). Ed25519 is logged as Ed25519ph.
func algorithmV2(key crypto.PublicKey) (crypto.Hash, string, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return crypto.SHA256, "PKIX_ECDSA_P256_SHA_256", nil
		case elliptic.P384():
			return crypto.SHA384, "PKIX_ECDSA_P384_SHA_384", nil
		case elliptic.P521():
			return crypto.SHA512, "PKIX_ECDSA_P521_SHA_512", nil
		}
	case *rsa.PublicKey:
		switch k.N.BitLen() {
		case 2048:
			return crypto.SHA256, "PKIX_RSA_PKCS1V15_2048_SHA256", nil
		case 3072:
			return crypto.SHA256, "PKIX_RSA_PKCS1V15_3072_SHA256", nil
		case 4096:
			return crypto.SHA256, "PKIX_RSA_PKCS1V15_4096_SHA256", nil
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize && !hasSmallOrder(k) {
			return crypto.SHA512, "PKIX_ED25519_PH", nil
		}
	}
	return 0, "", fmt.Errorf("hashedrekord entry: no signature algorithm is registered for this key (%T)", key)
}

// smallOrder are the y coordinates of the points of small order on Ed25519's
// curve, and the encodings above the field's prime that mean the same.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// hasSmallOrder reports whether anybody can sign for the key: for a point of
// small order there are signatures that verify over every message, or one
// message in eight.
func hasSmallOrder(k ed25519.PublicKey) bool {
	y := slices.Clone(k)
	y[len(y)-1] &= 0x7f // the sign of x
	return slices.Contains(smallOrder, hex.EncodeToString(y))
}

// HashFor is the hash that goes with a signing key by default: SHA-256 for
// P-256 and RSA, SHA-384 for P-384, SHA-512 for P-521 and Ed25519ph. It is an
// error if the key's type or size is not in Sigstore's algorithm registry, or
// if it is an Ed25519 key of small order.
func HashFor(key crypto.PublicKey) (crypto.Hash, error) {
	hash, _, err := algorithmV2(key)
	return hash, err
}

// KeyDetails is the name under which a signing key and the hash that goes with
// it stand in Sigstore's algorithm registry, as Rekor v2 requests and entries
// hold it. It is an error where [HashFor] is one.
func KeyDetails(key crypto.PublicKey) (string, error) {
	_, details, err := algorithmV2(key)
	return details, err
}

// CertificatePEM is the PEM form in which Rekor v1 entries hold a certificate.
func CertificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// PublicKeyPEM is the PEM form in which Rekor v1 entries hold a public key.
func PublicKeyPEM(pub crypto.PublicKey) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), nil
}

func hashName(h crypto.Hash) (string, error) {
	switch h {
	case crypto.SHA256:
		return "sha256", nil
	case crypto.SHA384:
		return "sha384", nil
	case crypto.SHA512:
		return "sha512", nil
	}
	return "", fmt.Errorf("hashedrekord entry: hash %v is not SHA-256, SHA-384 or SHA-512", h)
}

func sha256Value(h [32]byte) hashValue {
	return hashValue{Algorithm: "sha256", Value: hex.EncodeToString(h[:])}
}

func marshal(kind, version string, spec any) ([]byte, error) {
	b, err := json.Marshal(body{APIVersion: version, Kind: kind, Spec: spec})
	if err != nil {
		return nil, fmt.Errorf("encoding %s %s entry: %w", kind, version, err)
	}
	return b, nil
}

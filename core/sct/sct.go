// Package sct reads, makes and verifies signed certificate timestamps (SCTs), a certificate log's promise that it holds a
// certificate, as RFC 6962 defines them for precertificates.
//
// A verifier takes the timestamps out of a certificate with [FromCertificate], rebuilds what the log signed with
// [PrecertTBS], selects the log's key by [SCT.LogID] and calls [SCT.Verify]. A certificate authority calls [PrecertTBS] and
// puts the result of [MarshalList] into the final certificate. A log calls [Sign].
//
// The package does no I/O, reads no clock and changes no argument. Whether the time of a timestamp lies within the log's
// own validity window is for the caller to check, see [SCT.Time].
//
// Only what Sigstore's certificate logs make is supported: version 1, precertificate entries, ECDSA P-256 with SHA-256.
// Everything is read strictly: another algorithm, an unknown version and trailing bytes are errors. The extensions of a
// timestamp are part of what is signed and otherwise opaque; [ParseLeafIndex] reads the one that the static-ct-api defines.
package sct

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Code points of RFC 6962 section 3.2 and of TLS 1.2 (RFC 5246 section 7.4.1.4.1).
const (
	versionV1            = 0
	signatureTypeTBSCert = 0 // SignatureType certificate_timestamp
	entryTypePrecert     = 1
	hashSHA256           = 4
	signatureECDSA       = 3
)

// SCT is one signed certificate timestamp of version 1.
type SCT struct {
	// LogID is the SHA-256 of the log's public key as a DER SubjectPublicKeyInfo. It isn't signed: it only selects the key.
	LogID [32]byte
	// Timestamp counts milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
	Timestamp uint64
	// Extensions are the CtExtensions bytes, without their length prefix; they are signed.
	Extensions []byte
	// Signature is an ASN.1 DER ECDSA signature, without the TLS DigitallySigned wrapping.
	Signature []byte
}

// Time returns the timestamp as a time in UTC, or an error when it lies beyond what a signed 64-bit count of milliseconds
// can hold (such a time would silently turn negative).
func (s SCT) Time() (time.Time, error) {
	if s.Timestamp > math.MaxInt64 {
		return time.Time{}, fmt.Errorf("reading SCT timestamp: %d ms is out of range", s.Timestamp)
	}
	return time.UnixMilli(int64(s.Timestamp)).UTC(), nil
}

// Sign makes the timestamp with which the log that holds key answers for a precertificate at time timestamp (milliseconds since 1970).
// issuerKeyHash is the SHA-256 of the issuer's SubjectPublicKeyInfo and precertTBS the result of [PrecertTBS]. The key must
// be ECDSA P-256: it is the only kind that all of Sigstore's verifiers accept here.
func Sign(key crypto.Signer, timestamp uint64, extensions []byte, issuerKeyHash [32]byte, precertTBS []byte) (SCT, error) {
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		return SCT{}, fmt.Errorf("signing SCT: key is %T, want ECDSA P-256", key.Public())
	}
	id, err := LogID(pub)
	if err != nil {
		return SCT{}, fmt.Errorf("signing SCT: %w", err)
	}
	s := SCT{LogID: id, Timestamp: timestamp, Extensions: bytes.Clone(extensions)}
	digest, err := s.digest(issuerKeyHash, precertTBS)
	if err != nil {
		return SCT{}, fmt.Errorf("signing SCT: %w", err)
	}
	if s.Signature, err = key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
		return SCT{}, fmt.Errorf("signing SCT: %w", err)
	}
	return s, nil
}

// spkiP256 is what stands before the point in the DER SubjectPublicKeyInfo of every P-256 key (RFC 5480 section 2): each
// timestamp's log ID is compared, and crypto/x509 takes 4 microseconds to write these bytes.
const spkiP256 = "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"

// LogID returns the identifier of the log that signs with pub: the SHA-256 of the key's SubjectPublicKeyInfo (RFC 6962
// section 3.2). A key that is not ECDSA P-256 is an error.
func LogID(pub *ecdsa.PublicKey) ([32]byte, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return [32]byte{}, errors.New("log key is not ECDSA P-256")
	}
	point, err := pub.Bytes()
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding log key: %w", err)
	}
	return sha256.Sum256(append([]byte(spkiP256), point...)), nil
}

// Verify checks that the log with the key pub signed this timestamp for the precertificate precertTBS (from [PrecertTBS] of
// the certificate under verification) under the issuer whose SubjectPublicKeyInfo has the SHA-256 issuerKeyHash.
// The issuer must come from a verified chain: RFC 6962 binds its key, not its name.
func (s SCT) Verify(pub *ecdsa.PublicKey, issuerKeyHash [32]byte, precertTBS []byte) error {
	id, err := LogID(pub)
	if err != nil {
		return fmt.Errorf("verifying SCT: %w", err)
	}
	if id != s.LogID {
		return fmt.Errorf("verifying SCT: it names log %x, the key is of log %x", s.LogID, id)
	}
	digest, err := s.digest(issuerKeyHash, precertTBS)
	if err != nil {
		return fmt.Errorf("verifying SCT: %w", err)
	}
	if !ecdsa.VerifyASN1(pub, digest[:], s.Signature) {
		return errors.New("verifying SCT: signature does not match this certificate, issuer and log key")
	}
	return nil
}

// digest hashes the "digitally-signed struct" of RFC 6962 section 3.2 for a precert entry.
func (s SCT) digest(issuerKeyHash [32]byte, precertTBS []byte) ([32]byte, error) {
	const fixed = 1 + 1 + 8 + 2 + 32 + 3 + 2
	b := cryptobyte.NewBuilder(make([]byte, 0, fixed+len(precertTBS)+len(s.Extensions)))
	b.AddUint8(versionV1)
	b.AddUint8(signatureTypeTBSCert)
	b.AddUint64(s.Timestamp)
	b.AddUint16(entryTypePrecert)
	b.AddBytes(issuerKeyHash[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(precertTBS) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.Extensions) })
	signed, err := b.Bytes()
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding what the log signs: %w", err)
	}
	return sha256.Sum256(signed), nil
}

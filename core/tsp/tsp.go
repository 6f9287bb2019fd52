// Package tsp reads and verifies RFC 3161 timestamps, with which an authority attests that a signature existed at a time.
//
// [Parse] reads the answer of an authority (a TimeStampResp, what Sigstore bundles carry), [Token.Verify] checks it against the message (in
// Sigstore: the raw signature bytes) and the one [Authority] that the caller trusts, and only then is [Token.Time]
// worth anything. Whether that time lies within the authority's own validity window in a trusted root is for the caller to check.
// A client that asks for a timestamp encodes its question with [NewRequest] and calls [Token.CheckNonce] on the answer, too.
//
// The package does no I/O and reads no clock: certificates are judged at the time of the token, so that a timestamp outlives them.
//
// The formats are RFC 3161 (TimeStampResp, TSTInfo), RFC 5652 (CMS SignedData) and RFC 5816 (ESSCertIDv2), in DER: indefinite
// and non-minimal lengths, constructed strings and trailing bytes are errors. Supported are imprints and digests of SHA-256,
// SHA-384 and SHA-512 and signatures of ECDSA (P-256, P-384, P-521), RSA PKCS #1 v1.5 of at least 2048 bits and Ed25519. What Sigstore's timestamp-authority,
// github.com/digitorus/timestamp and "openssl ts" emit is read.
//
// Certificates in a token never decide anything: the signer is the trusted leaf or nobody (CVE-2026-39984 was a verifier that checked one certificate
// and judged another).
package tsp

import (
	"crypto"
	_ "crypto/sha256" // for the imprints and digests below
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// MaxResponse bounds an authority's answer, in bytes: one with four RSA certificates takes about 8 KiB.
const MaxResponse = 64 << 10

// maxCertificates bounds the certificates in a token: a chain of eight is longer than any authority's.
const maxCertificates = 8

// Token is a timestamp as it was read. Nothing in it is authentic before [Token.Verify] returned nil. A Token is not changed by its methods,
// which may be called concurrently.
type Token struct {
	// Time is when the authority saw the message, in UTC (genTime).
	Time time.Time
	// Hash is the algorithm of HashedMessage: SHA-256, SHA-384 or SHA-512.
	Hash crypto.Hash
	// HashedMessage is the digest of what was timestamped (messageImprint).
	HashedMessage []byte
	// Nonce repeats the requester's number, nil when there was none.
	Nonce *big.Int
	// Serial is the authority's own number of this token.
	Serial *big.Int
	// Policy names the authority's terms.
	Policy asn1.ObjectIdentifier

	content      []byte   // the DER TSTInfo, what messageDigest is over
	certificates [][]byte // embedded certificates, DER
	signer       signerInfo
}

// Parse reads a DER TimeStampResp of at most [MaxResponse] bytes. A refusal by the authority (any status but granted)
// is an error that names it. The result does not share memory with the input.
func Parse(untrustedResponse []byte) (*Token, error) {
	if len(untrustedResponse) > MaxResponse {
		return nil, fmt.Errorf("parsing timestamp: %d bytes, the limit is %d", len(untrustedResponse), MaxResponse)
	}
	in := cryptobyte.String(append([]byte(nil), untrustedResponse...))
	var response, status cryptobyte.String
	if !in.ReadASN1(&response, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("parsing timestamp: not one DER SEQUENCE")
	}
	// RFC 3161 section 2.4.2: TimeStampResp ::= SEQUENCE { status PKIStatusInfo, timeStampToken TimeStampToken OPTIONAL }
	if !response.ReadASN1(&status, cbasn1.SEQUENCE) {
		return nil, errors.New("parsing timestamp: missing status")
	}
	if err := checkStatus(status); err != nil {
		return nil, fmt.Errorf("parsing timestamp: %w", err)
	}
	if response.Empty() {
		return nil, errors.New("parsing timestamp: granted without a token")
	}
	var t Token
	if err := t.readContentInfo(&response); err != nil {
		return nil, fmt.Errorf("parsing timestamp: %w", err)
	}
	if !response.Empty() {
		return nil, errors.New("parsing timestamp: trailing bytes behind the token")
	}
	if err := t.readTSTInfo(t.content); err != nil {
		return nil, fmt.Errorf("parsing timestamp: TSTInfo: %w", err)
	}
	return &t, nil
}

// CheckNonce is for the client that asked: it checks that the answer repeats the number that was sent, so that an old answer cannot be replayed
// (RFC 3161 section 2.4.2). A nil number means that none was sent, and then none may come back.
func (t *Token) CheckNonce(sent *big.Int) error {
	switch {
	case sent == nil && t.Nonce == nil:
		return nil
	case sent == nil:
		return fmt.Errorf("checking timestamp nonce: answer has %x, none was sent", t.Nonce)
	case t.Nonce == nil:
		return fmt.Errorf("checking timestamp nonce: answer has none, sent %x", sent)
	case t.Nonce.Cmp(sent) != 0:
		return fmt.Errorf("checking timestamp nonce: answer has %x, sent %x", t.Nonce, sent)
	}
	return nil
}

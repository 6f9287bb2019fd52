package entry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Promise is what a Rekor v1 log states in a signed entry timestamp: that it
// accepted this body at this time under this index. It is the only
// authenticated source of the integrated time.
type Promise struct {
	Body           []byte   // the entry's canonical body
	IntegratedTime int64    // seconds since 1970
	LogIndex       int64    // global index, over all shards
	LogID          [32]byte // SHA-256 of the log's SubjectPublicKeyInfo
}

// ErrPromise is returned by [Promise.Verify] if the signature is not the
// log's.
var ErrPromise = errors.New("signed entry timestamp: not signed by the log's key")

// signed is the RFC 8785 form of the promise, the text that is signed.
func (p Promise) signed() ([]byte, error) {
	if p.IntegratedTime < 0 || p.LogIndex < 0 {
		return nil, errors.New("signed entry timestamp: negative time or index")
	}
	return json.Marshal(struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogID          string `json:"logID"`
		LogIndex       int64  `json:"logIndex"`
	}{p.Body, p.IntegratedTime, hex.EncodeToString(p.LogID[:]), p.LogIndex})
}

// Sign makes the signed entry timestamp. The key must be ECDSA P-256: every
// verifier in the field demands it.
func (p Promise) Sign(key crypto.Signer) ([]byte, error) {
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("signed entry timestamp: key has type %T, want ECDSA P-256", key.Public())
	}
	text, err := p.signed()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(text)
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing entry timestamp: %w", err)
	}
	return sig, nil
}

// Verify checks a signed entry timestamp over the promise. Everything in the
// promise is authenticated if, and only if, the result is nil.
func (p Promise) Verify(pub *ecdsa.PublicKey, untrustedSET []byte) error {
	text, err := p.signed()
	if err != nil {
		return err
	}
	digest := sha256.Sum256(text)
	if !ecdsa.VerifyASN1(pub, digest[:], untrustedSET) {
		return ErrPromise
	}
	return nil
}

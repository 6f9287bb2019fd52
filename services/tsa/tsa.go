// Package tsa is a time-stamping authority (RFC 3161) with the HTTP API of Sigstore's timestamp-authority:
//
//	POST /api/v1/timestamp             a TimeStampReq in DER, or upstream's JSON; answers a TimeStampResp
//	GET  /api/v1/timestamp/certchain   the authority's certificates as PEM, its own first
//
// A granted timestamp comes with status 201, as upstream's does. A request that is well-formed but cannot be granted (a digest
// that is not SHA-256, SHA-384 or SHA-512, a policy or a critical extension that is not known, a clock that is not to be trusted) is
// answered with status 200 and a TimeStampResp that says so in its failInfo (RFC 3161 section 2.4.2). What is not a request at all, or
// longer than 4 KiB, is 400 or 413 with a JSON body.
//
// Tokens are signed with SHA-256 over ECDSA or RSA, have random serial numbers of 160 bits, an accuracy of one second, and times that
// never go back. A token carries the authority's certificate only if it was asked to.
package tsa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/digitorus/timestamp"
)

// Policy is the policy of every token: the one that Sigstore's timestamp-authority names, "any time is as good as its certificate".
var Policy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}

const (
	// accuracy is what a token claims of its time. Times are whole seconds.
	accuracy = time.Second

	// maxClockStep is how far the clock may go back before no more tokens are made until it has caught up. Smaller steps, as a
	// clock is disciplined, repeat the latest time.
	maxClockStep = 2 * time.Second
)

// Config says what an authority is.
type Config struct {
	// Signer holds the key of Chain[0]: ECDSA or RSA. Required.
	Signer crypto.Signer

	// Chain is the authority's: its own certificate, any intermediates, the root. Two or more: verifiers take a single, self-signed
	// one for a root without a leaf.
	Chain []*x509.Certificate

	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// Logger receives a line per refusal; nil discards.
	Logger *slog.Logger
}

// A TSA makes timestamps. It is safe for concurrent use.
type TSA struct {
	signer   crypto.Signer
	chain    []*x509.Certificate
	chainPEM []byte
	clock    func() time.Time
	logger   *slog.Logger

	mu     sync.Mutex
	latest time.Time // of all tokens: none is earlier than one made before it
}

// New returns an authority, or an error that says what verifiers would refuse about its certificates.
func New(config Config) (*TSA, error) {
	t := &TSA{signer: config.Signer, chain: config.Chain, clock: config.Clock, logger: config.Logger}
	if t.clock == nil {
		t.clock = time.Now
	}
	if t.logger == nil {
		t.logger = slog.New(slog.DiscardHandler)
	}
	if err := checkChain(t.signer, t.chain, t.clock()); err != nil {
		return nil, fmt.Errorf("configuring time-stamping authority: %w", err)
	}
	for _, certificate := range t.chain {
		t.chainPEM = append(t.chainPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
	}
	return t, nil
}

// checkChain holds the authority's certificates to RFC 3161 section 2.3 and to what verifiers check: the leaf is no authority and its
// one extended key usage, time stamping, is critical.
func checkChain(signer crypto.Signer, chain []*x509.Certificate, now time.Time) error {
	if signer == nil || len(chain) < 2 {
		return errors.New("Signer and a Chain of at least a leaf and a root are required")
	}
	switch signer.Public().(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey:
	default:
		return fmt.Errorf("Signer is a %T, want ECDSA or RSA", signer.Public())
	}
	leaf := chain[0]
	if public := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !public.Equal(leaf.PublicKey) {
		return errors.New("Signer is not the key of the leaf Chain[0]")
	}
	if leaf.IsCA {
		return errors.New("the leaf Chain[0] is a certificate authority's")
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}) || len(leaf.UnknownExtKeyUsage) > 0 {
		return errors.New("the leaf Chain[0] must have time stamping as its only extended key usage")
	}
	for _, extension := range leaf.Extensions {
		if extension.Id.Equal(oidExtKeyUsage) && !extension.Critical {
			return errors.New("the leaf Chain[0] must have a critical extended key usage")
		}
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for i, certificate := range chain[1:] {
		if i+2 < len(chain) {
			intermediates.AddCert(certificate)
			continue
		}
		if err := certificate.CheckSignatureFrom(certificate); err != nil {
			return fmt.Errorf("the last of Chain is not a root: %w", err)
		}
		roots.AddCert(certificate)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}); err != nil {
		return fmt.Errorf("Chain does not verify for time stamping: %w", err)
	}
	return nil
}

var oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}

// now returns the time for the next token: whole seconds, never before an earlier token's.
func (t *TSA) now() (time.Time, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock().UTC().Truncate(time.Second)
	if now.Before(t.latest) {
		if behind := t.latest.Sub(now); behind > maxClockStep {
			return time.Time{}, reject(timestamp.TimeNotAvailable, fmt.Sprintf("the clock went back by %s", behind))
		}
		now = t.latest
	}
	for _, certificate := range t.chain {
		if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
			return time.Time{}, reject(timestamp.TimeNotAvailable, "the authority's certificate is not valid now")
		}
	}
	t.latest = now
	return now, nil
}

// stamp makes the token that a request asks for and returns the whole response.
func (t *TSA) stamp(r request) ([]byte, error) {
	if err := r.grantable(); err != nil {
		return nil, err
	}
	now, err := t.now()
	if err != nil {
		return nil, err
	}
	token := timestamp.Timestamp{
		HashAlgorithm:     r.hash,
		HashedMessage:     r.digest,
		Time:              now,
		Accuracy:          accuracy,
		Policy:            Policy,
		Nonce:             r.nonce,
		AddTSACertificate: r.wantCertificate,
	}
	response, err := token.CreateResponseWithOpts(t.chain[0], t.signer, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing timestamp: %w", err)
	}
	return response, nil
}

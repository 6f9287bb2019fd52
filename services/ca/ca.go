// Package ca is a certificate authority for signers: it turns an OpenID Connect identity token and a public key into a certificate
// that lives for ten minutes and is recorded in a certificate log. It speaks the HTTP API of Sigstore's Fulcio 1.8:
//
//	POST /api/v2/signingCert      what sigstore-go and cosign 3 call; answers 200
//	GET  /api/v2/trustBundle      the chain of this authority
//	GET  /api/v2/configuration    the issuers whose tokens are accepted
//	POST /api/v1/signingCert      what podman, skopeo and cosign 2 call; answers 201
//	GET  /api/v1/rootCert         the chain as PEM
//
// The order in which a request is judged is written down in one place, the unexported method issue. A certificate leaves only when the certificate
// log has answered with a timestamp that was verified, and only when the precertificate that was logged and the certificate that is
// returned are the same but for the poison and the timestamp.
//
// Identities are e-mail addresses, or what [Kind] says of CI systems and workloads. Certificates follow Fulcio's docs/certificate-specification.md: empty subject, critical subject
// alternative name, extended key usage code signing, 128 random bits of serial number.
//
// Request bodies are read up to 64 KiB (Fulcio: 4 MiB); the largest that clients send has about 4 KiB. Errors are JSON objects with
// code, message and details, as grpc-gateway makes them: 400 for what is wrong with a token, a key or a proof, 413, 429 with a limit
// that was reached, 503 when the certificate log or an issuer does not answer. A token is never written to the log.
package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/core/sct"
)

const (
	// CertificateLifetime is how long a certificate is valid: long enough to sign and to fetch a timestamp, short enough that
	// nobody needs to revoke it.
	CertificateLifetime = 10 * time.Minute

	// DefaultMaxTokenAge is how long after it was made a token is accepted, at most.
	DefaultMaxTokenAge = time.Hour

	// DefaultPerIdentity and DefaultTotal limit certificates by seconds; bursts of twenty seconds' worth are let through.
	DefaultPerIdentity = 5
	DefaultTotal       = 500

	// expiryAlarm is how long before the end of its own certificates the authority begins to warn.
	expiryAlarm = 30 * 24 * time.Hour
)

// CTLog is the certificate log. AddPreChain records a precertificate, given with its chain up to the root in DER, and returns the
// log's timestamp once the entry is durable: an error means that the certificate must not be issued.
type CTLog interface {
	AddPreChain(ctx context.Context, chain [][]byte) (sct.SCT, error)
}

// Issuer is an OpenID Connect issuer whose word on identities of one kind is taken.
type Issuer struct {
	// URL is compared with the iss claim byte for byte. It is https, or http on a loopback host, or http with Keys given: keys that
	// are fetched unprotected are anybody's.
	URL string

	// Audience must be among the token's; "" means "sigstore".
	Audience string

	// Kind is what its tokens speak of; "" means Email.
	Kind Kind

	// Domain is what the issuer may name: for SPIFFE the trust domain, for URI https://HOST, for GitHub, GitLab and Buildkite https://HOST of the pages, where ""
	// is what the URL suggests.
	Domain string

	// Keys verify the tokens. Nil: the issuer is asked, by OpenID Connect Discovery.
	Keys *jose.JSONWebKeySet

	// AllowOtherHost lets the issuer keep its keys on, or redirect to, another host than its own.
	AllowOtherHost bool

	// MaxTokenAge is how old a token may be; 0 means DefaultMaxTokenAge.
	MaxTokenAge time.Duration
}

// Config says what an authority is.
type Config struct {
	// Signer holds the key of Chain[0]. Required.
	Signer crypto.Signer

	// Chain is the authority's own: the issuing certificate first, the root last. Required.
	Chain []*x509.Certificate

	// CTLog records each certificate, and CTLogKey verifies its timestamps: without both there is no authority.
	CTLog    CTLog
	CTLogKey *ecdsa.PublicKey

	// Issuers are the issuers whose tokens are accepted. At least one.
	Issuers []Issuer

	// RefusedKeys are SHA-256 digests of public keys (SubjectPublicKeyInfo) that get no certificate, because their private key is
	// used for something else or is known. The keys of Chain are always among them.
	RefusedKeys [][32]byte

	// PerIdentity and Total limit the certificates per second for one identity and for all; 0 means the default, negative no limit.
	PerIdentity, Total float64

	// HTTPClient's transport carries requests to issuers; nil means http.DefaultTransport.
	HTTPClient *http.Client

	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// Rand is where serial numbers come from; nil means crypto/rand.
	Rand io.Reader

	// Logger receives one line per certificate and per refusal; nil discards.
	Logger *slog.Logger
}

// A CA issues certificates. It is safe for concurrent use.
type CA struct {
	signer      crypto.Signer
	chain       []*x509.Certificate
	notAfter    time.Time // the earliest end of a certificate in chain
	issuerHash  [32]byte  // of the issuing key, as certificate timestamps name it
	ctLog       CTLog
	ctLogKey    *ecdsa.PublicKey
	issuers     map[string]*acceptedIssuer
	order       []string // of issuers, as configured
	refusedKeys map[[32]byte]bool
	limits      *limits
	clock       func() time.Time
	rand        io.Reader
	logger      *slog.Logger

	mu         sync.Mutex
	latest     time.Time // the latest time ever seen
	lastSerial *big.Int
	lastAlarm  time.Time
}

// acceptedIssuer is an issuer with its defaults filled in and the way to its keys.
type acceptedIssuer struct {
	Issuer
	keys keySource
}

// New returns an authority, or an error that names what is wrong with its configuration: a chain that does not verify now, a key
// that is not the issuing certificate's, no certificate log, no issuer.
func New(config Config) (*CA, error) {
	c := &CA{
		signer: config.Signer, chain: config.Chain, ctLog: config.CTLog, ctLogKey: config.CTLogKey,
		clock: config.Clock, rand: config.Rand, logger: config.Logger,
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	if c.rand == nil {
		c.rand = rand.Reader
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if err := checkChain(c.signer, c.chain, c.clock()); err != nil {
		return nil, fmt.Errorf("configuring certificate authority: %w", err)
	}
	if c.ctLog == nil || c.ctLogKey == nil {
		return nil, errors.New("configuring certificate authority: CTLog and CTLogKey are required: no certificate is issued unlogged")
	}
	if _, err := sct.LogID(c.ctLogKey); err != nil { // which is for keys that can sign timestamps only
		return nil, fmt.Errorf("configuring certificate authority: CTLogKey: %w", err)
	}
	if err := c.accept(config.Issuers, config.HTTPClient); err != nil {
		return nil, fmt.Errorf("configuring certificate authority: %w", err)
	}
	c.issuerHash = sha256.Sum256(c.chain[0].RawSubjectPublicKeyInfo)
	c.refusedKeys = map[[32]byte]bool{}
	for _, digest := range config.RefusedKeys {
		c.refusedKeys[digest] = true
	}
	c.notAfter = c.chain[0].NotAfter
	for _, certificate := range c.chain {
		c.refusedKeys[sha256.Sum256(certificate.RawSubjectPublicKeyInfo)] = true
		if certificate.NotAfter.Before(c.notAfter) {
			c.notAfter = certificate.NotAfter
		}
	}
	c.limits = newLimits(orDefault(config.PerIdentity, DefaultPerIdentity), orDefault(config.Total, DefaultTotal))
	return c, nil
}

func orDefault(value, otherwise float64) float64 {
	if value == 0 {
		return otherwise
	}
	return value
}

// checkChain holds the authority to what verifiers will hold it to: the key is the issuing certificate's, each certificate is
// signed by the next, all are authorities, in their time, and good for code signing.
func checkChain(signer crypto.Signer, chain []*x509.Certificate, now time.Time) error {
	if signer == nil || len(chain) == 0 {
		return errors.New("Signer and Chain are required")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return errors.New("Signer is not the key of the issuing certificate Chain[0]")
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for i, certificate := range chain {
		if !certificate.IsCA || !certificate.BasicConstraintsValid || certificate.KeyUsage&x509.KeyUsageCertSign == 0 {
			return fmt.Errorf("Chain[%d] (%s) is not a certificate authority's", i, certificate.Subject)
		}
		if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
			return fmt.Errorf("Chain[%d] (%s) is valid from %s to %s, which is not now", i, certificate.Subject, certificate.NotBefore, certificate.NotAfter)
		}
		issuer := certificate
		if i+1 < len(chain) {
			issuer = chain[i+1]
			intermediates.AddCert(certificate)
		} else {
			roots.AddCert(certificate)
		}
		if err := certificate.CheckSignatureFrom(issuer); err != nil {
			return fmt.Errorf("Chain[%d] (%s) is not signed by the next, or the last is no root: %w", i, certificate.Subject, err)
		}
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}); err != nil {
		return fmt.Errorf("Chain does not verify for code signing: %w", err)
	}
	return nil
}

// accept fills in the issuers.
func (c *CA) accept(issuers []Issuer, client *http.Client) error {
	if len(issuers) == 0 {
		return errors.New("Issuers is empty: no token could be accepted")
	}
	c.issuers = make(map[string]*acceptedIssuer, len(issuers))
	for i, issuer := range issuers {
		if err := checkIssuerURL(issuer.URL, issuer.Keys != nil); err != nil {
			return fmt.Errorf("Issuers[%d]: URL %q %w", i, issuer.URL, err)
		}
		if c.issuers[issuer.URL] != nil {
			return fmt.Errorf("Issuers[%d]: URL %q occurs twice", i, issuer.URL)
		}
		if err := issuer.fillKind(); err != nil {
			return fmt.Errorf("Issuers[%d]: %w", i, err)
		}
		if issuer.Audience == "" {
			issuer.Audience = "sigstore"
		}
		if issuer.MaxTokenAge == 0 {
			issuer.MaxTokenAge = DefaultMaxTokenAge
		}
		accepted := &acceptedIssuer{Issuer: issuer}
		if issuer.Keys != nil {
			accepted.keys = fixedKeys(*issuer.Keys)
		} else {
			accepted.keys = &discoveredKeys{
				issuer: issuer.URL, crossHost: issuer.AllowOtherHost, client: guardClient(client, issuer.AllowOtherHost), clock: c.clock,
			}
		}
		c.issuers[issuer.URL] = accepted
		c.order = append(c.order, issuer.URL)
	}
	return nil
}

// CheckIssuerURL says what is wrong with the URL of an issuer whose keys are to be fetched, as in "must be https".
func CheckIssuerURL(url string) error { return checkIssuerURL(url, false) }

func checkIssuerURL(s string, keysGiven bool) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return errors.New("is not a plain URL")
	}
	if u.Scheme == "https" || u.Scheme == "http" && (loopback.Host(u.Hostname()) || keysGiven) {
		return nil
	}
	return errors.New("must be https unless its host is loopback")
}

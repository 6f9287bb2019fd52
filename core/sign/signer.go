package sign

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// signer has what all signatures of one image share.
type signer struct {
	root       *trust.Root
	now        func() time.Time
	logs, tsas service
	logURL     string // of the log for bundles
	logV2      bool   // that log is asked over Rekor's v2 API
	legacyURL  string // of the log for .sig signatures, always of Rekor's v1 API; empty if there is none
	tsaURL     string // empty if there is none
	noLog      bool   // logURL and legacyURL are empty
	key        crypto.Signer
	verifier   entry.Verifier // certificate or public key
	chain      [][]byte       // DER, the leaf first; nil for a key
	hint       string         // for a key
	identity   *Identity
	expected   verify.Expected // who verifiers will find
}

func newSigner(ctx context.Context, config Config) (*signer, error) {
	s := &signer{
		root: config.Root, now: config.clock(), noLog: config.NoLog,
		logs: newService("log", config.HTTPClient), tsas: newService("timestamp authority", config.HTTPClient),
	}
	if config.Signing != nil {
		if err := s.chooseServices(config.Signing); err != nil {
			return nil, err
		}
	}
	if config.Key != nil {
		return s, s.useKey(config.Key)
	}
	return s, s.useToken(ctx, config)
}

// chooseServices picks logs and timestamp authority. Like Sigstore's clients it takes a log's highest version.
func (s *signer) chooseServices(signing *trust.SigningConfig) error {
	if !s.noLog {
		if err := s.chooseLogs(signing); err != nil {
			return err
		}
	}
	if len(signing.TSAs) == 0 {
		if s.logV2 {
			return errors.New("choosing timestamp authority: the signing config has none, and a log of Rekor v2 tells no time")
		}
		return nil
	}
	tsa, err := trust.Pick(signing.TSAs, s.now(), 1)
	if err != nil {
		return fmt.Errorf("choosing timestamp authority: %w", err)
	}
	s.tsaURL = tsa.URL
	return nil
}

func (s *signer) chooseLogs(signing *trust.SigningConfig) error {
	log, err := trust.Pick(signing.Logs, s.now(), 1, 2)
	if err != nil {
		return fmt.Errorf("choosing log: %w", err)
	}
	s.logURL, s.logV2 = log.URL, log.MajorAPIVersion == 2
	if legacy, err := trust.Pick(signing.Logs, s.now(), 1); err == nil {
		s.legacyURL = legacy.URL
	}
	return nil
}

func (s *signer) useKey(key crypto.Signer) error {
	if s.logV2 && keys.Hash(key.Public()) == 0 {
		// It takes only the prehashed variant, which verifiers of envelopes don't know.
		return fmt.Errorf("%w: an Ed25519 key can't sign for a log of Rekor v2, use an ECDSA key", ErrInput)
	}
	s.key = &serial{Signer: key}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encoding public key: %w", err)
	}
	sum := sha256.Sum256(der)
	s.hint = base64.StdEncoding.EncodeToString(sum[:])
	s.expected = verify.Keyed(verify.Key{Name: s.hint, Public: key.Public()})
	s.verifier = entry.Verifier{Key: key.Public()}
	return nil
}

func (s *signer) useToken(ctx context.Context, config Config) error {
	ca, err := trust.Pick(config.Signing.CAs, s.now(), 1)
	if err != nil {
		return fmt.Errorf("choosing certificate authority: %w", err)
	}
	cas := newService("certificate authority", config.HTTPClient)
	if err := token.CheckTLS(ca.URL); err != nil && !config.InsecureHTTP {
		return cas.failed(ca.URL, 0, err)
	}
	tok, err := config.Token.Token(ctx)
	if err != nil {
		return err
	}
	if s.key, err = keys.Generate(keys.P256); err != nil {
		return err
	}
	chain, id, err := certify(ctx, cas, ca.URL, tok, s.key)
	if err != nil {
		return err
	}
	s.chain = chain
	s.verifier = entry.Verifier{Certificate: chain[0], Key: s.key.Public()}
	s.identity = &Identity{Subject: id.SAN.Value, Issuer: id.Issuer}
	matcher, err := identity.NewMatcher(identity.Spec{Issuer: id.Issuer, Subject: id.SAN.Value})
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	s.expected = verify.Keyless(matcher)
	return nil
}

// serial asks a key for one signature at a time: it may be in a device that fails when it is asked for several at once.
type serial struct {
	crypto.Signer
	mu sync.Mutex
}

// Sign waits for its turn.
func (s *serial) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Signer.Sign(random, digest, opts)
}

package sign

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// signer has what all signatures of one image share.
type signer struct {
	root        *trust.Root
	now         func() time.Time
	logs, tsas  service
	logURL      string
	tsaURL      string // empty if there is none
	key         crypto.Signer
	verifierPEM []byte   // certificate or public key, as log entries hold it
	chain       [][]byte // DER, the leaf first; nil for a key
	hint        string   // for a key
	identity    *Identity
	expected    verify.Expected // who verifiers will find
}

func newSigner(ctx context.Context, config Config) (*signer, error) {
	s := &signer{root: config.Root, now: config.Now, logs: newService("log", config.HTTPClient), tsas: newService("timestamp authority", config.HTTPClient)}
	if s.now == nil {
		s.now = time.Now
	}
	log, err := trust.Pick(config.Signing.Logs, s.now(), 1)
	if err != nil {
		return nil, fmt.Errorf("choosing log: %w", err)
	}
	s.logURL = log.URL
	if len(config.Signing.TSAs) > 0 {
		tsa, err := trust.Pick(config.Signing.TSAs, s.now(), 1)
		if err != nil {
			return nil, fmt.Errorf("choosing timestamp authority: %w", err)
		}
		s.tsaURL = tsa.URL
	}
	if config.Key != nil {
		return s, s.useKey(config.Key)
	}
	return s, s.useToken(ctx, config)
}

func (s *signer) useKey(key crypto.Signer) error {
	s.key = key
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encoding public key: %w", err)
	}
	sum := sha256.Sum256(der)
	s.hint = base64.StdEncoding.EncodeToString(sum[:])
	s.expected = verify.Keyed(verify.Key{Name: s.hint, Public: key.Public()})
	s.verifierPEM, err = entry.PublicKeyPEM(key.Public())
	return err
}

func (s *signer) useToken(ctx context.Context, config Config) error {
	ca, err := trust.Pick(config.Signing.CAs, s.now(), 1)
	if err != nil {
		return fmt.Errorf("choosing certificate authority: %w", err)
	}
	cas := newService("certificate authority", config.HTTPClient)
	if err := checkTLS(ca.URL); err != nil && !config.InsecureHTTP {
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
	s.verifierPEM = entry.CertificatePEM(chain[0])
	s.identity = &Identity{Subject: id.SAN.Value, Issuer: id.Issuer}
	matcher, err := identity.NewMatcher(identity.Spec{Issuer: id.Issuer, Subject: id.SAN.Value})
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	s.expected = verify.Keyless(matcher)
	return nil
}

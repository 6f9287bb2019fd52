package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/sct"
)

const (
	// ctLogTimeout bounds the wait for the certificate log; clients give up after 30 seconds.
	ctLogTimeout = 15 * time.Second

	// maxClockStep is how far the clock may go back before no more certificates are issued. A certificate with a false start of
	// validity could be used with a timestamp from before its holder was verified.
	maxClockStep = time.Minute

	// serialBytes is the size of a serial number: 128 random bits, so that none is ever seen twice without keeping a list.
	serialBytes = 16
)

// issue judges a request and makes the certificate. This is the whole order: no step is skipped and none comes earlier than those
// it rests on.
func (c *CA) issue(ctx context.Context, request signingRequest) (*x509.Certificate, error) {
	// 1. The clock can be relied on, and the authority outlives what it would issue.
	now, err := c.now()
	if err != nil {
		return nil, err
	}
	// 2. The token says who asks.
	who, err := c.authenticate(ctx, request.token)
	if err != nil {
		return nil, err
	}
	// 3. The key is strong, and nobody else's.
	if err := c.checkKey(request.key); err != nil {
		return nil, err
	}
	// 4. Who asks holds the key.
	if err := checkProof(request, who.name); err != nil {
		return nil, err
	}
	// 5. They have not asked too often.
	if err := c.limits.allow(who.identity.Issuer+" "+who.name, now); err != nil {
		return nil, err
	}
	// 6. The precertificate is made and logged, and the log's timestamp verified.
	template, err := c.template(request.key, who.identity, now)
	if err != nil {
		return nil, internal(err)
	}
	precertificate, err := c.sign(template, request.key, pkix.Extension{Id: sct.OIDPoison, Critical: true, Value: asn1.NullBytes})
	if err != nil {
		return nil, internal(err)
	}
	timestamp, err := c.log(ctx, precertificate)
	if err != nil {
		return nil, unavailable(msgCTLog, err)
	}
	// 7. The certificate is the precertificate with the timestamp in the place of the poison.
	list, err := sct.MarshalList([]sct.SCT{timestamp})
	if err != nil {
		return nil, internal(err)
	}
	certificate, err := c.sign(template, request.key, pkix.Extension{Id: sct.OIDList, Value: list})
	if err != nil {
		return nil, internal(err)
	}
	if err := c.checkIssued(precertificate, certificate, who.identity); err != nil {
		return nil, internal(err)
	}
	index, _, err := sct.ParseLeafIndex(timestamp.Extensions)
	if err != nil {
		return nil, unavailable(msgCTLog, err)
	}
	c.logger.InfoContext(ctx, "certificate issued", "serial", fmt.Sprintf("%x", certificate.SerialNumber),
		"identity", who.identity.SAN.Value, "issuer", who.identity.Issuer, "ctlog_index", index, "not_after", certificate.NotAfter)
	return certificate, nil
}

// now returns the time to issue at. It refuses when the clock has been set back, until it has caught up, and when a certificate
// of now would outlive the authority's own.
func (c *CA) now() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock().Round(0) // without the monotonic reading, which a step of the clock does not show in
	if behind := c.latest.Sub(now); behind > maxClockStep {
		return time.Time{}, unavailable(msgCA, fmt.Errorf("the clock went back by %s", behind.Truncate(time.Second)))
	}
	if now.After(c.latest) {
		c.latest = now
	}
	left := c.notAfter.Sub(now)
	if left < CertificateLifetime {
		return time.Time{}, unavailable(msgCA, fmt.Errorf("the authority's own certificate ends at %s, before one of now would", c.notAfter.UTC().Format(time.RFC3339)))
	}
	if left < expiryAlarm && now.Sub(c.lastAlarm) > time.Hour {
		c.lastAlarm = now
		c.logger.Warn("the authority's own certificate ends soon", "not_after", c.notAfter)
	}
	return now, nil
}

// template is a certificate after Fulcio's profile, still without poison and timestamp.
func (c *CA) template(key crypto.PublicKey, who identity.Identity, now time.Time) (*x509.Certificate, error) {
	serial, err := c.serial()
	if err != nil {
		return nil, err
	}
	extensions, err := who.CertificateExtensions()
	if err != nil {
		return nil, fmt.Errorf("encoding identity: %w", err)
	}
	keyID, err := subjectKeyID(key)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:    serial,
		NotBefore:       now,
		NotAfter:        now.Add(CertificateLifetime),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		SubjectKeyId:    keyID,
		ExtraExtensions: extensions,
	}, nil
}

// serial returns 128 random bits. A source of randomness that repeats itself is broken, and nothing is issued from it.
func (c *CA) serial() (*big.Int, error) {
	var bits [serialBytes]byte
	if _, err := io.ReadFull(c.rand, bits[:]); err != nil {
		return nil, fmt.Errorf("making serial number: %w", err)
	}
	serial := new(big.Int).SetBytes(bits[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	if serial.Sign() == 0 || c.lastSerial != nil && serial.Cmp(c.lastSerial) == 0 {
		return nil, errors.New("making serial number: the source of randomness repeats itself")
	}
	c.lastSerial = serial
	return serial, nil
}

// subjectKeyID is the first of the methods of RFC 7093: 160 bits of the SHA-256 of the key.
func subjectKeyID(key crypto.PublicKey) ([]byte, error) {
	encoded, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(encoded, &info); err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	digest := sha256.Sum256(info.Key.Bytes)
	return digest[:20], nil
}

// sign makes a certificate from the template and one more extension, which comes last.
func (c *CA) sign(template *x509.Certificate, key crypto.PublicKey, last pkix.Extension) (*x509.Certificate, error) {
	whole := *template
	whole.ExtraExtensions = append(append([]pkix.Extension(nil), template.ExtraExtensions...), last)
	der, err := x509.CreateCertificate(c.rand, &whole, c.chain[0], key, c.signer)
	if err != nil {
		return nil, fmt.Errorf("signing certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate just signed: %w", err)
	}
	return certificate, nil
}

// log records a precertificate and returns the log's timestamp, verified: by the log that was configured, for this entry.
func (c *CA) log(ctx context.Context, precertificate *x509.Certificate) (sct.SCT, error) {
	ctx, cancel := context.WithTimeout(ctx, ctLogTimeout)
	defer cancel()
	chain := [][]byte{precertificate.Raw}
	for _, certificate := range c.chain {
		chain = append(chain, certificate.Raw)
	}
	timestamp, err := c.ctLog.AddPreChain(ctx, chain)
	if err != nil {
		return sct.SCT{}, fmt.Errorf("recording certificate: %w", err)
	}
	tbs, err := sct.PrecertTBS(precertificate.RawTBSCertificate)
	if err != nil {
		return sct.SCT{}, err
	}
	if err := timestamp.Verify(c.ctLogKey, c.issuerHash, tbs); err != nil {
		return sct.SCT{}, fmt.Errorf("verifying the log's timestamp: %w", err)
	}
	return timestamp, nil
}

// checkIssued looks at the certificate as a stranger would, before one sees it: it is signed by the authority, says what was
// decided, and is what was logged (RFC 6962 section 3.1: the same but for the poison and the timestamps).
func (c *CA) checkIssued(precertificate, certificate *x509.Certificate, who identity.Identity) error {
	logged, err := sct.PrecertTBS(precertificate.RawTBSCertificate)
	if err != nil {
		return fmt.Errorf("comparing certificate with precertificate: %w", err)
	}
	issued, err := sct.PrecertTBS(certificate.RawTBSCertificate)
	if err != nil {
		return fmt.Errorf("comparing certificate with precertificate: %w", err)
	}
	if !bytes.Equal(logged, issued) {
		return errors.New("comparing certificate with precertificate: they differ in more than poison and timestamp")
	}
	if err := certificate.CheckSignatureFrom(c.chain[0]); err != nil {
		return fmt.Errorf("verifying the certificate just signed: %w", err)
	}
	read, err := identity.FromCertificate(certificate)
	if err != nil {
		return fmt.Errorf("reading the certificate just signed: %w", err)
	}
	if read != who {
		return errors.New("reading the certificate just signed: it names another identity")
	}
	return nil
}

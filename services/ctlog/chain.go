package ctlog

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/services/internal/tilelog"
)

const (
	// maxChain bounds the certificates of a chain: each costs a signature check.
	maxChain = 8
	// maxCert bounds one certificate in bytes: with its TBSCertificate a second time
	// a precertificate must fit into a bundle's entry of 256 KiB.
	maxCert = 64 << 10
)

// RejectedError says what is wrong with a chain.
type RejectedError struct {
	Reason string
}

func (e *RejectedError) Error() string { return e.Reason }

func rejected(format string, args ...any) error {
	return &RejectedError{fmt.Sprintf(format, args...)}
}

// checked is a chain that the log takes, without its time.
type checked struct {
	entry   tilelog.Precert
	issuers []*x509.Certificate // of the precertificate, up to the root
}

// check reads a chain and holds it against the rules in the package comment. Every
// error is a *RejectedError.
func (l *Log) check(untrustedChain [][]byte) (checked, error) {
	if len(untrustedChain) == 0 || len(untrustedChain) > maxChain {
		return checked{}, rejected("the chain has %d certificates; want 1 to %d", len(untrustedChain), maxChain)
	}
	var chain []*x509.Certificate
	for i, der := range untrustedChain {
		if len(der) > maxCert {
			return checked{}, rejected("chain[%d] has %d bytes, the limit is %d", i, len(der), maxCert)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return checked{}, rejected("chain[%d] is malformed", i)
		}
		chain = append(chain, cert)
	}
	if err := checkPrecert(chain[0]); err != nil {
		return checked{}, rejected("chain[0]: %v", err)
	}
	chain, err := l.complete(chain)
	if err != nil {
		return checked{}, err
	}
	for i, cert := range chain[:len(chain)-1] {
		if err := checkIssued(cert, chain[i+1]); err != nil {
			return checked{}, rejected("chain[%d] is not issued by the next certificate: %v", i, err)
		}
	}
	tbs, err := sct.PrecertTBS(chain[0].RawTBSCertificate)
	if err != nil {
		return checked{}, rejected("chain[0]: %v", err)
	}
	c := checked{issuers: chain[1:]}
	c.entry = tilelog.Precert{
		IssuerKeyHash:  sha256.Sum256(chain[1].RawSubjectPublicKeyInfo),
		TBS:            tbs,
		Precertificate: chain[0].Raw,
	}
	for _, issuer := range c.issuers {
		c.entry.Chain = append(c.entry.Chain, sha256.Sum256(issuer.Raw))
	}
	return c, nil
}

// checkPrecert demands the poison, once, critical, with the value NULL (RFC 6962
// section 3.1), and no timestamps.
func checkPrecert(cert *x509.Certificate) error {
	if cert.IsCA {
		return errors.New("it is an authority's certificate")
	}
	poisons := 0
	for _, e := range cert.Extensions {
		switch {
		case e.Id.Equal(sct.OIDPoison) && (!e.Critical || !bytes.Equal(e.Value, asn1.NullBytes)):
			return errors.New("its poison is not critical or not NULL")
		case e.Id.Equal(sct.OIDPoison):
			poisons++
		case e.Id.Equal(sct.OIDList):
			return errors.New("it holds timestamps already")
		}
	}
	if poisons != 1 {
		return fmt.Errorf("it has %d poison extensions; a precertificate has one", poisons)
	}
	return nil
}

// complete appends the root where the chain leaves it out, as it may, and demands
// that the last certificate is a root of the log's.
func (l *Log) complete(chain []*x509.Certificate) ([]*x509.Certificate, error) {
	last := chain[len(chain)-1]
	for _, root := range l.cfg.Roots {
		if len(chain) > 1 && root.Equal(last) {
			return chain, nil
		}
	}
	for _, root := range l.cfg.Roots {
		if checkIssued(last, root) == nil {
			return append(chain, root), nil
		}
	}
	return nil, rejected("the chain does not lead to a root that the log knows")
}

// checkIssued checks names, the signature and that the issuer is an authority.
func checkIssued(cert, issuer *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return errors.New("it names another issuer")
	}
	return cert.CheckSignatureFrom(issuer)
}

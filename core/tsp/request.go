package tsp

import (
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// RequestOptions say what else an authority is asked for. The zero value is what sigstore-go sends.
type RequestOptions struct {
	// Nonce, when not nil, comes back in the answer, see [Token.CheckNonce]. It must not be negative.
	Nonce *big.Int
	// CertReq asks the authority to put its certificate into the token.
	CertReq bool
}

// NewRequest returns a DER TimeStampReq (RFC 3161 section 2.4.1) for the SHA-256 of message.
//
//	TimeStampReq ::= SEQUENCE { version INTEGER { v1(1) }, messageImprint MessageImprint, reqPolicy OBJECT IDENTIFIER OPTIONAL,
//	  nonce INTEGER OPTIONAL, certReq BOOLEAN DEFAULT FALSE, extensions [0] IMPLICIT Extensions OPTIONAL }
func NewRequest(message []byte, opts RequestOptions) ([]byte, error) {
	if opts.Nonce != nil && opts.Nonce.Sign() < 0 {
		return nil, errors.New("encoding timestamp request: nonce is negative")
	}
	digest := sha256.Sum256(message)
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1})
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(digest[:])
		})
		if opts.Nonce != nil {
			b.AddASN1BigInt(opts.Nonce)
		}
		if opts.CertReq {
			b.AddASN1Boolean(true)
		}
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding timestamp request: %w", err)
	}
	return der, nil
}

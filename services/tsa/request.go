package tsa

import (
	"crypto"
	_ "crypto/sha256" // the digests that requests may have
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/digitorus/timestamp"
	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxRequest bounds a request. One with SHA-512, a nonce of maxNonce and a policy has less than 200 bytes.
	maxRequest = 4 << 10

	// maxNonce bounds a nonce, which is echoed: 64 bits are usual, 160 the most in use.
	maxNonce = 64
)

var hashes = map[string]crypto.Hash{
	"2.16.840.1.101.3.4.2.1": crypto.SHA256,
	"2.16.840.1.101.3.4.2.2": crypto.SHA384,
	"2.16.840.1.101.3.4.2.3": crypto.SHA512,
}

// rejection is a refusal that RFC 3161 has a word for.
type rejection struct {
	info timestamp.FailureInfo
	text string
}

func (r *rejection) Error() string { return r.text }

func reject(info timestamp.FailureInfo, text string) error { return &rejection{info, text} }

// request is a TimeStampReq.
type request struct {
	version         int64
	algorithm       asn1.ObjectIdentifier
	hash            crypto.Hash // 0 if algorithm is not one of hashes
	digest          []byte
	policy          asn1.ObjectIdentifier // nil if none
	nonce           *big.Int              // nil if none
	wantCertificate bool
	critical        asn1.ObjectIdentifier // the first critical extension, nil if none
}

// parseRequest reads a TimeStampReq in DER. An error means that it is none; a request that is one, but asks for what cannot be
// granted, is for [request.grantable] to refuse.
//
//	TimeStampReq ::= SEQUENCE  {
//	   version         INTEGER  { v1(1) },
//	   messageImprint  MessageImprint,
//	   reqPolicy       TSAPolicyId    OPTIONAL,
//	   nonce           INTEGER        OPTIONAL,
//	   certReq         BOOLEAN        DEFAULT FALSE,
//	   extensions      [0] IMPLICIT Extensions  OPTIONAL  }
func parseRequest(untrusted []byte) (request, error) {
	var r request
	var body, imprint, algorithm cryptobyte.String
	input := cryptobyte.String(untrusted)
	if !input.ReadASN1(&body, cryptobyte_asn1.SEQUENCE) {
		return r, errors.New("it is not a DER sequence")
	}
	if !input.Empty() {
		return r, fmt.Errorf("%d bytes follow it", len(input))
	}
	if !body.ReadASN1Integer(&r.version) {
		return r, errors.New("version is not an integer")
	}
	if !body.ReadASN1(&imprint, cryptobyte_asn1.SEQUENCE) || !imprint.ReadASN1(&algorithm, cryptobyte_asn1.SEQUENCE) ||
		!algorithm.ReadASN1ObjectIdentifier(&r.algorithm) || !imprint.ReadASN1Bytes(&r.digest, cryptobyte_asn1.OCTET_STRING) || !imprint.Empty() {
		return r, errors.New("messageImprint is malformed")
	}
	// RFC 5754 section 2: the parameters of SHA-2 are absent, or NULL. Those of other algorithms do not matter, they are refused.
	r.hash = hashes[r.algorithm.String()]
	var null cryptobyte.String
	if r.hash != 0 && !algorithm.Empty() && (!algorithm.ReadASN1(&null, cryptobyte_asn1.NULL) || !null.Empty() || !algorithm.Empty()) {
		return r, errors.New("messageImprint has an algorithm with parameters")
	}
	if body.PeekASN1Tag(cryptobyte_asn1.OBJECT_IDENTIFIER) && !body.ReadASN1ObjectIdentifier(&r.policy) {
		return r, errors.New("reqPolicy is malformed")
	}
	if body.PeekASN1Tag(cryptobyte_asn1.INTEGER) {
		r.nonce = new(big.Int)
		if !body.ReadASN1Integer(r.nonce) {
			return r, errors.New("nonce is malformed")
		}
		if r.nonce.Sign() < 0 || r.nonce.BitLen() > maxNonce*8 {
			return r, fmt.Errorf("nonce must be a positive integer of at most %d bytes", maxNonce)
		}
	}
	if body.PeekASN1Tag(cryptobyte_asn1.BOOLEAN) {
		// DER leaves out a value that is the default, but openssl and others write it.
		if !body.ReadASN1Boolean(&r.wantCertificate) {
			return r, errors.New("certReq is malformed")
		}
	}
	if err := r.parseExtensions(&body); err != nil {
		return r, err
	}
	if !body.Empty() {
		return r, errors.New("it has a field that is not known")
	}
	return r, nil
}

// parseExtensions reads the extensions for nothing but a critical one: none is known.
func (r *request) parseExtensions(body *cryptobyte.String) error {
	var extensions cryptobyte.String
	var present bool
	if !body.ReadOptionalASN1(&extensions, &present, cryptobyte_asn1.Tag(0).Constructed().ContextSpecific()) {
		return errors.New("extensions are malformed")
	}
	if present && extensions.Empty() {
		return errors.New("extensions are malformed")
	}
	for !extensions.Empty() {
		var extension, value cryptobyte.String
		var id asn1.ObjectIdentifier
		critical := false
		if !extensions.ReadASN1(&extension, cryptobyte_asn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&id) {
			return errors.New("extensions are malformed")
		}
		if extension.PeekASN1Tag(cryptobyte_asn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) {
			return errors.New("extensions are malformed")
		}
		if !extension.ReadASN1(&value, cryptobyte_asn1.OCTET_STRING) || !extension.Empty() {
			return errors.New("extensions are malformed")
		}
		if critical && r.critical == nil {
			r.critical = id
		}
	}
	return nil
}

// grantable refuses what RFC 3161 section 2.4.2 has a failInfo for.
func (r request) grantable() error {
	switch {
	case r.version != 1:
		return reject(timestamp.BadRequest, fmt.Sprintf("version %d is not known, want 1", r.version))
	case r.hash == 0:
		return reject(timestamp.BadAlgorithm, fmt.Sprintf("digest algorithm %s is not accepted, want SHA-256, SHA-384 or SHA-512", r.algorithm))
	case len(r.digest) != r.hash.Size():
		return reject(timestamp.BadDataFormat, fmt.Sprintf("a digest of %d bytes is not one of %s", len(r.digest), r.hash))
	case r.policy != nil && !r.policy.Equal(Policy):
		return reject(timestamp.UnacceptedPolicy, fmt.Sprintf("policy %s is not known, want %s", r.policy, Policy))
	case r.critical != nil:
		return reject(timestamp.UnacceptedExtension, fmt.Sprintf("critical extension %s is not known", r.critical))
	}
	return nil
}

// rejectionResponse is a TimeStampResp without a token.
//
//	PKIStatusInfo ::= SEQUENCE {
//	   status        PKIStatus,
//	   statusString  PKIFreeText     OPTIONAL,
//	   failInfo      PKIFailureInfo  OPTIONAL  }
func rejectionResponse(r *rejection) ([]byte, error) {
	// A named bit list ends with the last bit that is set (X.690 section 11.2.2).
	last := uint(r.info)
	bits := make([]byte, last/8+1)
	bits[last/8] = 0x80 >> (last % 8)
	var b cryptobyte.Builder
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(int64(timestamp.Rejection))
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyte_asn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.text)) })
			})
			b.AddASN1(cryptobyte_asn1.BIT_STRING, func(b *cryptobyte.Builder) {
				b.AddUint8(uint8(7 - last%8)) // unused bits
				b.AddBytes(bits)
			})
		})
	})
	return b.Bytes()
}

package siglog

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// ProposedV2 is an entry for the v2 tree that has been read and verified.
type ProposedV2 struct {
	// Body is the canonical body: the leaf.
	Body []byte
	// LeafHash is the body's RFC 6962 hash.
	LeafHash [sha256.Size]byte
}

// requestV2 is rekor-tiles' CreateEntryRequest: one of the two.
type requestV2 struct {
	HashedRekord *hashedRekordRequest `json:"hashedRekordRequestV002"`
	DSSE         *dsseRequest         `json:"dsseRequestV002"`
}

type hashedRekordRequest struct {
	Digest    protoBytes `json:"digest"`
	Signature struct {
		Content  protoBytes `json:"content"`
		Verifier verifierV2 `json:"verifier"`
	} `json:"signature"`
}

type dsseRequest struct {
	Envelope struct {
		Payload     protoBytes `json:"payload"`
		PayloadType string     `json:"payloadType"`
		Signatures  []struct {
			Sig   protoBytes `json:"sig"`
			KeyID string     `json:"keyid"` // no use is made of it
		} `json:"signatures"`
	} `json:"envelope"`
	Verifiers []verifierV2 `json:"verifiers"`
}

// verifierV2 is a certificate or a key, in DER.
type verifierV2 struct {
	PublicKey   *rawBytes    `json:"publicKey"`
	Certificate *rawBytes    `json:"x509Certificate"`
	KeyDetails  protoDetails `json:"keyDetails"`
}

type rawBytes struct {
	RawBytes protoBytes `json:"rawBytes"`
}

// ParseV2 reads a Rekor v2 CreateEntryRequest and verifies it: the signature over
// the digest must be that of the key or of the certificate's key, made with the
// algorithm that keyDetails names, the one that Sigstore's registry has for that
// kind of key. A dsseRequestV002, which clients up to 2025 send, becomes the entry
// that later clients send and that all expect: a hashedrekord over the envelope's
// pre-authentication encoding.
//
// The JSON is protobuf's: names in either spelling, null for what is not given. A
// name that is not known, or that occurs twice, is refused. Every error is the
// submitter's fault.
func ParseV2(untrustedJSON []byte) (ProposedV2, error) {
	var r requestV2
	if err := decodeProto(untrustedJSON, &r); err != nil {
		return ProposedV2{}, fmt.Errorf("%w (a hashedRekordRequestV002 is taken here)", err)
	}
	switch {
	case r.HashedRekord != nil && r.DSSE != nil:
		return ProposedV2{}, errors.New("hashedRekordRequestV002 and dsseRequestV002 exclude each other")
	case r.HashedRekord != nil:
		p, err := r.HashedRekord.propose()
		if err != nil {
			return ProposedV2{}, fmt.Errorf("hashedRekordRequestV002.%w", err)
		}
		return p, nil
	case r.DSSE != nil:
		p, err := r.DSSE.propose()
		if err != nil {
			return ProposedV2{}, fmt.Errorf("dsseRequestV002.%w", err)
		}
		return p, nil
	}
	return ProposedV2{}, errors.New("hashedRekordRequestV002 is missing")
}

func (r *hashedRekordRequest) propose() (ProposedV2, error) {
	v, err := r.Signature.Verifier.parse()
	if err != nil {
		return ProposedV2{}, fmt.Errorf("signature.verifier.%w", err)
	}
	hash, err := entry.HashFor(v.Key)
	if err != nil {
		return ProposedV2{}, err
	}
	if len(r.Digest) != hash.Size() {
		return ProposedV2{}, fmt.Errorf("digest has %d bytes; a digest for this key has %d (%s)", len(r.Digest), hash.Size(), hash)
	}
	if err := (verifier{key: v.Key}).verifyDigest(hash, r.Digest, r.Signature.Content); err != nil {
		return ProposedV2{}, fmt.Errorf("signature.content: %w", err)
	}
	return newProposedV2(r.Digest, r.Signature.Content, v)
}

// propose takes exactly one signature: more would be as many entries, or as many
// times the work of as many verifiers (rekor-tiles issue 684).
func (r *dsseRequest) propose() (ProposedV2, error) {
	if n := len(r.Envelope.Signatures); n != 1 {
		return ProposedV2{}, fmt.Errorf("envelope.signatures has %d elements; want one", n)
	}
	if n := len(r.Verifiers); n != 1 {
		return ProposedV2{}, fmt.Errorf("verifiers has %d elements; want one", n)
	}
	if r.Envelope.PayloadType == "" {
		return ProposedV2{}, errors.New("envelope.payloadType is missing")
	}
	v, err := r.Verifiers[0].parse()
	if err != nil {
		return ProposedV2{}, fmt.Errorf("verifiers[0].%w", err)
	}
	hash, err := entry.HashFor(v.Key)
	if err != nil {
		return ProposedV2{}, err
	}
	h := hash.New()
	h.Write(bundle.PAE(r.Envelope.PayloadType, r.Envelope.Payload))
	digest, signature := h.Sum(nil), r.Envelope.Signatures[0].Sig
	if err := (verifier{key: v.Key}).verifyDigest(hash, digest, signature); err != nil {
		return ProposedV2{}, fmt.Errorf("envelope.signatures[0].sig: %w", err)
	}
	return newProposedV2(digest, signature, v)
}

// parse reads the certificate or key, of which the entry will hold exactly the
// bytes that were given: clients rebuild the entry from theirs.
func (r verifierV2) parse() (entry.Verifier, error) {
	var v entry.Verifier
	switch {
	case r.Certificate != nil && r.PublicKey != nil:
		return v, errors.New("publicKey and x509Certificate exclude each other")
	case r.Certificate != nil:
		cert, err := x509.ParseCertificate(r.Certificate.RawBytes)
		if err != nil {
			return v, errors.New("x509Certificate.rawBytes is not a certificate in DER")
		}
		v = entry.Verifier{Certificate: cert.Raw, Key: cert.PublicKey}
	case r.PublicKey != nil:
		key, err := x509.ParsePKIXPublicKey(r.PublicKey.RawBytes)
		if err != nil {
			return v, errors.New("publicKey.rawBytes is not a public key in DER (SubjectPublicKeyInfo)")
		}
		if canonical, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(canonical, r.PublicKey.RawBytes) {
			return v, errors.New("publicKey.rawBytes is not a public key's canonical DER")
		}
		v = entry.Verifier{Key: key}
	default:
		return v, errors.New("publicKey and x509Certificate are missing; want one of them")
	}
	if err := keys.Check(v.Key); err != nil {
		return v, err
	}
	want, err := entry.KeyDetails(v.Key)
	if err != nil {
		return v, err
	}
	if r.KeyDetails != protoDetails(want) {
		return v, fmt.Errorf("keyDetails is %.64q; what is taken for this key is %s", string(r.KeyDetails), want)
	}
	return v, nil
}

func newProposedV2(digest, signature []byte, v entry.Verifier) (ProposedV2, error) {
	body, err := entry.HashedRekordV002(digest, signature, v)
	if err != nil {
		return ProposedV2{}, err
	}
	if len(body) > maxBody {
		return ProposedV2{}, fmt.Errorf("signature: the entry's canonical body has %d bytes, the limit is %d", len(body), maxBody)
	}
	return ProposedV2{Body: body, LeafHash: tlog.LeafHash(body)}, nil
}

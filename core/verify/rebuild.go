package verify

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/jsonguard"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// unsupportedEntry is the error for kinds of entries that are not read.
type unsupportedEntry struct{ kind, version string }

func (u *unsupportedEntry) Error() string {
	return fmt.Sprintf("log entries of kind %q %q are not supported for this form of evidence", u.kind, u.version)
}

// rebuildBody makes the body that a log must hold for this evidence, from what
// was verified here, in the kind and version that the entry claims to have.
// v2 says that the kind is one of Rekor v2.
func (r *run) rebuildBody(untrusted bundle.Entry) (body []byte, v2 bool, err error) {
	ev := r.Evidence
	switch untrusted.Kind + " " + untrusted.Version {
	case entry.KindHashedRekord + " " + entry.V002:
		body, err = r.rebuildV2()
		return body, true, err
	case entry.KindHashedRekord + " " + entry.V001:
		if ev.Envelope != nil {
			break // the reference refuses it: an envelope is logged as dsse or intoto
		}
		hash, digest := crypto.SHA256, []byte(nil)
		if ev.Message != nil {
			if hash, err = hashByName(ev.Message.DigestAlgorithm); err != nil {
				return nil, false, err
			}
			digest = ev.Message.Digest
		} else {
			if _, ed := r.key.(ed25519.PublicKey); !ed {
				hash = r.hash
			}
			digest = r.digest(hash)
		}
		verifier, err := r.verifierPEM()
		if err != nil {
			return nil, false, err
		}
		body, err = entry.HashedRekordV001(hash, digest, ev.Signature(), verifier)
		return body, false, err
	case entry.KindDSSE + " " + entry.V001, entry.KindIntoto + " " + entry.V002:
		if ev.Envelope == nil {
			break
		}
		body, err = r.rebuildEnvelope(untrusted)
		return body, false, err
	case entry.KindIntoto + " " + entry.V001:
		if ev.Envelope == nil || ev.Envelope.Text == nil {
			break // it is about the envelope's text alone, which a bundle does not keep
		}
		body, err = r.rebuildEnvelope(untrusted)
		return body, false, err
	}
	return nil, false, &unsupportedEntry{jsonguard.Excerpt(untrusted.Kind), jsonguard.Excerpt(untrusted.Version)}
}

func (r *run) rebuildV2() ([]byte, error) {
	ev := r.Evidence
	hash, err := entry.HashFor(r.key)
	if err != nil {
		return nil, err
	}
	var digest []byte
	if ev.Message != nil {
		digest = ev.Message.Digest
	} else {
		digest = r.digest(hash)
	}
	v := entry.Verifier{Key: r.key}
	if r.leaf != nil {
		v.Certificate = r.leaf.Raw
	}
	return entry.HashedRekordV002(digest, ev.Signature(), v)
}

// maxBodyTokens bounds the JSON of a log entry's body. Those of envelopes have 45
// tokens.
const maxBodyTokens = 256

// envelopeBody is the part of a logged envelope's body that a verifier of a
// bundle cannot know: the hash of the JSON text that the log was sent.
type envelopeBody struct {
	Spec struct {
		EnvelopeHash hashValue `json:"envelopeHash"` // dsse
		Content      struct {  // intoto
			Hash        hashValue  `json:"hash"`
			PayloadHash *hashValue `json:"payloadHash"`
			Envelope    struct {
				Signatures []intotoSignature `json:"signatures"`
			} `json:"envelope"`
		} `json:"content"`
	} `json:"spec"`
}

// intotoSignature is what an intoto 0.0.2 entry repeats in the words of the
// client that made it.
type intotoSignature struct {
	KeyID     string `json:"keyid"`
	PublicKey []byte `json:"publicKey"` // PEM
}

type hashValue struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

// envelopeHash is the SHA-256 of the envelope's text: our own if it is there,
// otherwise the claimed one.
func envelopeHash(env *bundle.Envelope, claimed hashValue) (sum [32]byte, err error) {
	if env.Text != nil {
		return sha256.Sum256(env.Text), nil
	}
	raw, err := hex.DecodeString(claimed.Value)
	if err != nil || len(raw) != len(sum) || claimed.Algorithm != "sha256" {
		return sum, errors.New("the log entry's envelope hash is not a SHA-256")
	}
	return [32]byte(raw), nil
}

func (r *run) rebuildEnvelope(untrusted bundle.Entry) ([]byte, error) {
	var claimed envelopeBody
	if err := jsonguard.Check(untrusted.Body, maxBodyTokens, func(name []byte) bool { return string(name) == "publicKey" }); err != nil {
		return nil, fmt.Errorf("the log entry's body: %w", err)
	}
	if err := json.Unmarshal(untrusted.Body, &claimed, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, fmt.Errorf("the log entry's body is malformed JSON: %w", err)
	}
	verifier, err := r.verifierPEM()
	if err != nil {
		return nil, err
	}
	env := r.Evidence.Envelope
	claimedHash := claimed.Spec.Content.Hash
	if untrusted.Kind == entry.KindDSSE {
		claimedHash = claimed.Spec.EnvelopeHash
	}
	textHash, err := envelopeHash(env, claimedHash)
	if err != nil {
		return nil, err
	}
	payloadHash := sha256.Sum256(env.Payload)
	switch {
	case untrusted.Kind == entry.KindDSSE:
		return entry.DSSEV001(textHash, payloadHash, env.Signature, verifier)
	case untrusted.Version == entry.V001:
		if claimed.Spec.Content.PayloadHash == nil {
			return entry.IntotoV001(textHash, nil, verifier)
		}
		return entry.IntotoV001(textHash, &payloadHash, verifier)
	}
	// Unlike the other kinds, this one keeps the client's own PEM text, which may
	// lack the last line break: it is taken over if it says the same.
	sigs := claimed.Spec.Content.Envelope.Signatures
	if len(sigs) != 1 || !samePEM(sigs[0].PublicKey, verifier) {
		return nil, errors.New("the log entry is about another certificate or key")
	}
	return entry.IntotoV002(textHash, payloadHash, env.PayloadType, sigs[0].KeyID, env.Signature, sigs[0].PublicKey)
}

// samePEM reports whether two PEM texts hold the same single block.
func samePEM(untrusted, own []byte) bool {
	if bytes.Equal(untrusted, own) {
		return true // as nearly always
	}
	a, rest := pem.Decode(untrusted)
	b, _ := pem.Decode(own)
	return a != nil && len(rest) == 0 && a.Type == b.Type && bytes.Equal(a.Bytes, b.Bytes)
}

// verifierPEM is the signer as Rekor v1 entries hold it.
func (r *run) verifierPEM() ([]byte, error) {
	if r.leaf != nil {
		return entry.CertificatePEM(r.leaf.Raw), nil
	}
	return entry.PublicKeyPEM(r.key)
}

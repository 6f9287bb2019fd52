package siglog

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// The index's keys are text: "key:<SHA-256 of SPKI or certificate>",
// "subject:<identity in lower case>" and "hash:<algorithm>:<hex>".

func hashKey(algorithm string, digest []byte) string {
	return "hash:" + algorithm + ":" + hex.EncodeToString(digest)
}

func subjectKey(subject string) string { return "subject:" + strings.ToLower(subject) }

// searchKeys are the keys for the signer: its public key and, with a certificate,
// that and the identities in it.
func (v verifier) searchKeys() []string {
	var found []string
	if spki, err := x509.MarshalPKIXPublicKey(v.key); err == nil {
		found = append(found, fingerprint(spki))
	}
	if v.cert == nil {
		return found
	}
	found = append(found, fingerprint(v.cert.Raw))
	for _, email := range v.cert.EmailAddresses {
		found = append(found, subjectKey(email))
	}
	for _, uri := range v.cert.URIs {
		found = append(found, subjectKey(uri.String()))
	}
	// A user name is in an otherName, which crypto/x509 does not read.
	if id, err := identity.FromCertificate(v.cert); err == nil && id.SAN.Kind == identity.Username {
		found = append(found, subjectKey(id.SAN.Value))
	}
	return found
}

// subjectKeys are the digests of an in-toto statement's subjects: people look for
// the image, not for the statement about it. The tree does not hold the payload, so
// these keys are lost with the index.
func subjectKeys(payloadType string, untrustedPayload []byte) []string {
	if payloadType != "application/vnd.in-toto+json" {
		return nil
	}
	var statement struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if json.Unmarshal(untrustedPayload, &statement) != nil {
		return nil // signed all the same: what it says is the signer's business
	}
	var found []string
	for i, subject := range statement.Subject {
		if i == maxSubjects {
			break
		}
		digest, err := hex.DecodeString(subject.Digest["sha256"])
		if err == nil && len(digest) == 32 {
			found = append(found, hashKey("sha256", digest))
		}
	}
	return found
}

// keysOfBody derives an entry's search keys from its leaf alone.
func keysOfBody(body []byte) ([]string, error) {
	type hash struct{ Algorithm, Value string }
	var b struct {
		Kind string
		Spec struct {
			Data      struct{ Hash hash }
			Signature struct {
				PublicKey struct{ Content []byte }
			}
			EnvelopeHash, PayloadHash hash
			Signatures                []struct{ Verifier []byte }
		}
	}
	if err := json.Unmarshal(body, &b, json.MatchCaseInsensitiveNames(true)); err != nil {
		return nil, errors.New("it is not an entry")
	}
	pem, hashes := b.Spec.Signature.PublicKey.Content, []hash{b.Spec.Data.Hash}
	if b.Kind == entry.KindDSSE && len(b.Spec.Signatures) == 1 {
		pem, hashes = b.Spec.Signatures[0].Verifier, []hash{b.Spec.PayloadHash, b.Spec.EnvelopeHash}
	}
	var found []string
	// A key that today's rules refuse stays in the log, and is found by hash.
	if v, err := parseVerifier(pem); err == nil {
		found = v.searchKeys()
	}
	for _, h := range hashes {
		found = append(found, "hash:"+h.Algorithm+":"+h.Value)
	}
	return found, nil
}

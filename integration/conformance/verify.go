package main

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// verify verifies the bundle about a file or a digest.
func (o options) verify(root *trust.Root) error {
	expected, err := o.expected()
	if err != nil {
		return err
	}
	untrusted, err := read(o.bundle, bundle.MaxSize)
	if err != nil {
		return err
	}
	evidence, err := bundle.Parse(untrusted)
	if err != nil {
		return fmt.Errorf("reading %s: %w", o.bundle, err)
	}
	artifact, err := o.artifact(evidence)
	if err != nil {
		return err
	}
	in := verify.Input{Evidence: evidence, Artifact: artifact, Signer: expected, Root: root, Now: time.Now()}
	if evidence.Envelope != nil {
		// The protocol does not ask for a predicate type: whichever it is must be about the artifact.
		if in.PredicateType, err = predicateType(evidence.Envelope.Payload); err != nil {
			return fmt.Errorf("reading %s: in-toto statement: %w", o.bundle, err)
		}
	}
	_, err = verify.Verify(in)
	return err
}

// expected is who must have signed: exactly one of a key and an identity.
func (o options) expected() (verify.Expected, error) {
	keyless := o.identity != "" || o.issuer != ""
	switch {
	case keyless == (o.key != ""):
		return verify.Expected{}, errors.New("want either --key, or --certificate-identity with --certificate-oidc-issuer")
	case keyless:
		matcher, err := identity.NewMatcher(identity.Spec{Subject: o.identity, Issuer: o.issuer})
		if err != nil {
			return verify.Expected{}, fmt.Errorf("--certificate-identity is the subject, --certificate-oidc-issuer the issuer: %w", err)
		}
		return verify.Keyless(matcher), nil
	}
	key, err := keys.LoadPublic(o.key)
	if err != nil {
		return verify.Expected{}, fmt.Errorf("--key: %w", err)
	}
	return verify.Keyed(verify.Key{Name: o.key, Public: key}), nil
}

// artifact is the digest of what must have been signed. A file is hashed with the algorithm that the evidence was made with.
func (o options) artifact(evidence *bundle.Evidence) (verify.Digest, error) {
	if text, ok := strings.CutPrefix(o.input, "sha256:"); ok && len(text) == hex.EncodedLen(crypto.SHA256.Size()) {
		if _, err := os.Stat(o.input); errors.Is(err, os.ErrNotExist) {
			sum, err := hex.DecodeString(text)
			return verify.Digest{Algorithm: "sha256", Value: sum}, err
		}
	}
	content, err := read(o.input, maxFile)
	if err != nil {
		return verify.Digest{}, err
	}
	algorithm, hash := "sha256", crypto.SHA256
	switch algorithmOf(evidence) {
	case "sha384":
		algorithm, hash = "sha384", crypto.SHA384
	case "sha512":
		algorithm, hash = "sha512", crypto.SHA512
	}
	h := hash.New()
	h.Write(content)
	return verify.Digest{Algorithm: algorithm, Value: h.Sum(nil)}, nil
}

// statement is what the protocol needs of an in-toto statement.
type statement struct {
	Subject []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string `json:"predicateType"`
}

// algorithmOf is the digest algorithm of the evidence: that of the message, or one that the statement has.
func algorithmOf(evidence *bundle.Evidence) string {
	if evidence.Message != nil {
		return evidence.Message.DigestAlgorithm
	}
	var st statement
	if evidence.Envelope == nil || json.Unmarshal(evidence.Envelope.Payload, &st) != nil {
		return ""
	}
	for _, algorithm := range []string{"sha256", "sha384", "sha512"} {
		for _, s := range st.Subject {
			if s.Digest[algorithm] != "" {
				return algorithm
			}
		}
	}
	return ""
}

func predicateType(untrustedStatement []byte) (string, error) {
	var st statement
	if err := json.Unmarshal(untrustedStatement, &st); err != nil {
		return "", err
	}
	if st.PredicateType == "" {
		return "", errors.New("predicateType is missing")
	}
	return st.PredicateType, nil
}

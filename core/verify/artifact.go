package verify

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
)

// Limits on in-toto statements, those of sigstore-go.
const (
	maxSubjects          = 1024
	maxDigestsPerSubject = 32
)

// payloadTypeInToto is the only payload type whose meaning is known here.
const payloadTypeInToto = "application/vnd.in-toto+json"

// checkArtifact compares what the evidence is about with the artifact.
func (r *run) checkArtifact() error {
	e := r.Evidence
	switch {
	case e.Envelope != nil:
		return r.checkStatement(e.Envelope)
	case r.PredicateType != "":
		return r.fail(CodePredicate, checkPredicate, "a signature", r.PredicateType,
			fmt.Errorf("it is a signature, wanted is an attestation of type %s", r.PredicateType))
	case e.Message != nil:
		got := Digest{Algorithm: e.Message.DigestAlgorithm, Value: e.Message.Digest}
		if got.Algorithm != r.Artifact.Algorithm || !bytes.Equal(got.Value, r.Artifact.Value) {
			return r.wrongArtifact(got.String())
		}
	case e.Payload != nil:
		payload, err := bundle.ParseSimpleSigning(e.Payload.Text)
		if err != nil {
			return r.refuse(CodeMalformed, checkArtifact, "%w", err)
		}
		if payload.Digest != r.Artifact.String() {
			return r.wrongArtifact(payload.Digest)
		}
	default:
		return r.refuse(CodeMalformed, checkArtifact, "it holds no signature")
	}
	r.pass(checkArtifact, r.Artifact.String(), "")
	return nil
}

func (r *run) wrongArtifact(got string) error {
	return r.fail(CodeWrongArtifact, checkArtifact, got, r.Artifact.String(), fmt.Errorf("it is about %q, not %s", got, r.Artifact))
}

// statement is an in-toto statement. As its specification demands, unknown
// fields are ignored; duplicate fields are errors.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
}

type subject struct {
	Digest map[string]string `json:"digest"`
}

func (r *run) checkStatement(env *bundle.Envelope) error {
	if env.PayloadType != payloadTypeInToto {
		return r.fail(CodeUnsupported, checkPredicate, env.PayloadType, payloadTypeInToto,
			fmt.Errorf("its payload type is %q, not %s", env.PayloadType, payloadTypeInToto))
	}
	st, err := parseStatement(env.Payload)
	if err != nil {
		return r.refuse(CodeMalformed, checkPredicate, "in-toto statement: %w", err)
	}
	want := r.PredicateType
	if want == "" {
		want = PredicateImageSignature
	}
	if st.PredicateType != want {
		return r.fail(CodePredicate, checkPredicate, st.PredicateType, want,
			fmt.Errorf("it is an attestation of type %q, wanted is %s", st.PredicateType, want))
	}
	found := ""
	for _, s := range st.Subject {
		got, ok := s.Digest[r.Artifact.Algorithm]
		if !ok {
			continue
		}
		found = r.Artifact.Algorithm + ":" + got
		if got == hex.EncodeToString(r.Artifact.Value) {
			r.result.Statement = env.Payload
			r.pass(checkPredicate, st.PredicateType, "")
			r.pass(checkArtifact, r.Artifact.String(), "")
			return nil
		}
	}
	if found == "" {
		found = "no " + r.Artifact.Algorithm + " digest"
	}
	return r.wrongArtifact(found)
}

func parseStatement(untrusted []byte) (statement, error) {
	var st statement
	if err := json.Unmarshal(untrusted, &st); err != nil {
		return statement{}, fmt.Errorf("malformed JSON: %w", err)
	}
	switch st.Type {
	case "https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1":
	default:
		return statement{}, fmt.Errorf("_type %q is not a statement of version 0.1 or 1", st.Type)
	}
	if len(st.Subject) == 0 {
		return statement{}, errors.New("it has no subject")
	}
	if len(st.Subject) > maxSubjects {
		return statement{}, fmt.Errorf("it has %d subjects, the limit is %d", len(st.Subject), maxSubjects)
	}
	for i, s := range st.Subject {
		if len(s.Digest) == 0 || len(s.Digest) > maxDigestsPerSubject {
			return statement{}, fmt.Errorf("subject %d has %d digests, want 1 to %d", i, len(s.Digest), maxDigestsPerSubject)
		}
	}
	return st, nil
}

func hashByName(name string) (crypto.Hash, error) {
	switch name {
	case "sha256":
		return crypto.SHA256, nil
	case "sha384":
		return crypto.SHA384, nil
	case "sha512":
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("algorithm %q is not sha256, sha384 or sha512", name)
}

package verify

import (
	"bytes"
	"crypto"
	"fmt"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/jsonguard"
)

// payloadTypeInToto is the only payload type whose meaning is known here.
const payloadTypeInToto = "application/vnd.in-toto+json"

// maxShownDigest is how many bytes of a digest an error shows: more than any has,
// but not all that evidence may give for one.
const maxShownDigest = 128

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
			got.Value = got.Value[:min(len(got.Value), maxShownDigest)]
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
	got = jsonguard.Excerpt(got)
	return r.fail(CodeWrongArtifact, checkArtifact, got, r.Artifact.String(), fmt.Errorf("it is about %q, not %s", got, r.Artifact))
}

func (r *run) checkStatement(env *bundle.Envelope) error {
	if env.PayloadType != payloadTypeInToto {
		got := jsonguard.Excerpt(env.PayloadType)
		return r.fail(CodeUnsupported, checkPredicate, got, payloadTypeInToto, fmt.Errorf("its payload type is %q, not %s", got, payloadTypeInToto))
	}
	st, err := parseStatement(env.Payload, r.Artifact)
	if err != nil {
		return r.refuse(CodeMalformed, checkPredicate, "in-toto statement: %w", err)
	}
	want := r.PredicateType
	if want == "" {
		want = PredicateImageSignature
	}
	if st.PredicateType != want {
		got := jsonguard.Excerpt(st.PredicateType)
		return r.fail(CodePredicate, checkPredicate, got, want, fmt.Errorf("it is an attestation of type %q, wanted is %s", got, want))
	}
	if st.Subject.matched {
		r.result.Statement = env.Payload
		r.pass(checkPredicate, st.PredicateType, "")
		r.pass(checkArtifact, r.Artifact.String(), "")
		return nil
	}
	if st.Subject.last == "" {
		return r.wrongArtifact("no " + r.Artifact.Algorithm + " digest")
	}
	return r.wrongArtifact(r.Artifact.Algorithm + ":" + st.Subject.last)
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

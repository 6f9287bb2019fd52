package verify

import "github.com/touchmark/touchmark/core/bundle"

// ClaimedPredicateType is what [Input.PredicateType] must be for the evidence
// to be taken for what it says it is: the predicate type of an attestation, or
// empty for a signature of the image and for what cannot be read. Nothing about
// it is verified.
func ClaimedPredicateType(untrusted *bundle.Evidence) string {
	if untrusted.Envelope == nil {
		return ""
	}
	st, err := parseStatement(untrusted.Envelope.Payload, Digest{})
	if err != nil || st.PredicateType == PredicateImageSignature {
		return ""
	}
	return st.PredicateType
}

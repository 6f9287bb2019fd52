package gate

import (
	"time"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/verify"
)

// Outcome is the answer in one word.
type Outcome = ask.Outcome

// The three answers. They are kept apart on purpose: an outage is never a
// refusal, and neither of the two admits.
const (
	OutcomeAdmitted  = ask.Admitted
	OutcomeRefused   = ask.Refused
	OutcomeUndecided = ask.Undecided
)

// Code says why, from a closed set.
type Code string

// The reasons of verdicts, each for one cause. docs/verdicts.md has an example
// and a remedy for each.
const (
	// Admitted.
	CodeAdmitted  Code = "admitted"             // every policy that applies is satisfied
	CodeException Code = "allowed-by-exception" // the site made an exception of this image, for a while
	CodePinned    Code = "pinned"               // the site pinned this digest
	CodeObserved  Code = ask.CodeObserved       // enforcing would have refused, or could not have decided
	CodeUnmatched Code = "insecurely-unmatched" // no policy is about it, and the site insecurely admits such images

	// Refused.
	CodeNoPolicy        Code = "no-policy"              // no policy is about this repository
	CodeRevoked         Code = "revoked"                // the site revoked this digest
	CodeDenied          Code = "denied-by-policy"       // a policy refuses it whoever signed
	CodeUnsigned        Code = "unsigned"               // the registry was asked, and there is nothing
	CodeNotAcceptable   Code = "signature-not-accepted" // there is evidence, but none that the policy accepts
	CodeAttestationOnly Code = "attested-not-signed"    // there are acceptable attestations, but the policy wants a signature
	CodeNoAttestation   Code = "attestation-missing"    // nothing attests what the policy wants attested
	CodePredicate       Code = "predicate-unsatisfied"  // what is attested does not satisfy the policy's predicate
	CodeForeign         Code = "foreign-signature"      // there is a signature of another kind, such as Notation's

	// Undecided.
	CodeLookupFailed  Code = "lookup-failed"      // the registry could not be asked
	CodeForbidden     Code = "lookup-forbidden"   // the registry does not let us look (401, 403)
	CodeThrottled     Code = "lookup-throttled"   // the registry has no time for us (429)
	CodeTimeout       Code = "lookup-timeout"     // the registry took longer than a pull may wait
	CodeParentUnknown Code = "parent-unknown"     // the index must be signed, and it is not known which index lists the image
	CodeTooMuch       Code = "too-much-evidence"  // more lies beside the image than is looked at
	CodeSlowEvidence  Code = "verifying-too-long" // its signatures take longer to verify than one image may
	CodePredicateFail Code = "predicate-failed"   // a predicate could not be evaluated
	CodeStaleRoot     Code = "trust-root-stale"   // its TUF metadata ended too long ago
	CodeNoAgent       Code = ask.CodeNoAgent      // the agent, which decides, could not be asked
	CodeCancelled     Code = ask.CodeCancelled    // the caller went away
	CodeBadRequest    Code = "bad-request"        // the request itself cannot be judged
	CodeInternal      Code = "internal-error"     // a defect in this program; please report it
)

// Verdict is the gate's answer: what was decided, and everything that led
// there. Its JSON is the same wherever it is shown.
type Verdict struct {
	Outcome    Outcome           `json:"outcome"`
	Code       Code              `json:"code"`
	Reason     string            `json:"reason"` // one plain sentence, for the person whose pull this is
	Repository string            `json:"repository"`
	Digest     string            `json:"digest"`
	Policies   []PolicyResult    `json:"policies,omitempty"`
	Signatures []SignatureResult `json:"signatures,omitempty"`
	// Others lie beside the image and are no evidence here, such as Notation's
	// signatures.
	Others  []Other         `json:"others,omitempty"`
	Lookups []attach.Lookup `json:"lookups,omitempty"`
	// ManifestRequests is how many manifests the registry was asked for, which
	// some count and limit.
	ManifestRequests int        `json:"manifestRequests"`
	Roots            []RootInfo `json:"trustRoots,omitempty"`
	// PolicyDigest is the SHA-256 of the policy file.
	PolicyDigest string `json:"policyDigest,omitempty"`
	// Grant is the exception or pin that admitted the image, if one did.
	Grant *Grant `json:"grant,omitempty"`
	// Advice is a change to the policy that would admit the image, as YAML, where
	// there is an obvious one. Whether it should be made is another matter.
	Advice    string    `json:"advice,omitempty"`
	DecidedAt time.Time `json:"decidedAt"`
	Cached    bool      `json:"cached"` // answered from the verdict cache
}

// Admitted is the one test that an enforcement point makes.
func (v Verdict) Admitted() bool { return v.Outcome == OutcomeAdmitted }

// Answer is what of the verdict whoever asked goes by.
func (v Verdict) Answer() ask.Answer {
	return ask.Answer{Outcome: v.Outcome, Code: string(v.Code), Reason: v.Reason, Repository: v.Repository, Digest: v.Digest}
}

// Grant is an exception or a pin.
type Grant struct {
	Reason  string    `json:"reason"`
	By      string    `json:"by,omitempty"`
	Expires time.Time `json:"expires,omitzero"` // an exception's
	Review  time.Time `json:"review,omitzero"`  // a pin's
}

// Other is something beside an image that is not evidence of a kind that is
// verified here.
type Other struct {
	Subject      string `json:"subject"` // digest of the manifest or index beside which it was found
	Manifest     string `json:"manifest"`
	ArtifactType string `json:"artifactType"`
	Name         string `json:"name"` // for people
}

// ParentMayHelp reports whether the answer could be another one if an index
// that lists the image were among the request's parents.
func (v Verdict) ParentMayHelp() bool {
	switch v.Code {
	case CodeUnsigned, CodeNotAcceptable, CodeAttestationOnly, CodeNoAttestation, CodePredicate, CodeForeign, CodeParentUnknown:
		return true
	}
	return false
}

// PolicyResult is one policy that applies to the image.
type PolicyResult struct {
	Name      string `json:"name"`
	Mode      string `json:"mode"` // "enforce" or "observe"
	Satisfied bool   `json:"satisfied"`
	// Authority is the authority that was satisfied, if one was.
	Authority string `json:"authority,omitempty"`
	// Lacking says what became of the policy's own predicate, if that is why it
	// is not satisfied.
	Lacking string `json:"lacking,omitempty"`
}

// SignatureResult is one piece of evidence that was found, and what became of
// it under each authority that it was tried for.
type SignatureResult struct {
	Subject  string       `json:"subject"` // digest of the manifest or index beside which it was found
	Where    attach.Where `json:"where"`
	Manifest string       `json:"manifest"` // digest of the manifest that holds it
	Layer    int          `json:"layer"`
	Format   string       `json:"format,omitempty"`
	// Unreadable says why the evidence could not be read, if it could not.
	Unreadable string    `json:"unreadable,omitempty"`
	Attempts   []Attempt `json:"attempts,omitempty"`
}

// Attempt is the verification of one piece of evidence for one authority.
type Attempt struct {
	Policy    string `json:"policy"`
	Authority string `json:"authority"`
	// Attestation is the name of the attestation that it was tried as; empty where
	// a signature of the image was wanted.
	Attestation string         `json:"attestation,omitempty"`
	Accepted    bool           `json:"accepted"`
	Code        verify.Code    `json:"code,omitempty"`
	Reason      string         `json:"reason,omitempty"`
	Root        string         `json:"trustRoot,omitempty"` // name of the trust root it was held against
	Checks      []verify.Check `json:"checks,omitempty"`
	Signer      *verify.Signer `json:"signer,omitempty"`
	// Entries and Times are set if it was accepted.
	Entries []verify.LogEntry `json:"entries,omitempty"`
	Times   []verify.Time     `json:"times,omitempty"`
}

// RootInfo is a trust root that the verdict leans on.
type RootInfo struct {
	Name   string    `json:"name"`
	Digest string    `json:"digest"`   // SHA-256 of trusted_root.json
	Loaded time.Time `json:"loadedAt"` // when it was read
}

package gate

import (
	"time"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/verify"
)

// Outcome is the answer in one word.
type Outcome string

// The three answers. They are kept apart on purpose: an outage is never a
// refusal, and neither of the two admits.
const (
	OutcomeAdmitted  Outcome = "admitted"
	OutcomeRefused   Outcome = "refused"
	OutcomeUndecided Outcome = "undecided"
)

// Code says why, from a closed set.
type Code string

// The reasons of verdicts.
const (
	CodeAdmitted      Code = "admitted"               // every policy that applies is satisfied
	CodeObserved      Code = "observed"               // a policy in observe mode would have refused; admitted all the same
	CodeNoPolicy      Code = "no-policy"              // refused: no policy is about this repository
	CodeDenied        Code = "denied-by-policy"       // refused: a policy refuses it whoever signed
	CodeUnsigned      Code = "unsigned"               // refused: the registry was asked and there is no signature
	CodeNotAcceptable Code = "signature-not-accepted" // refused: there are signatures, but none that the policy accepts
	CodeLookupFailed  Code = "lookup-failed"          // undecided: the registry could not be asked
	CodeCancelled     Code = "cancelled"              // undecided: the caller went away, or time ran out
	CodeBadRequest    Code = "bad-request"            // undecided: the request itself cannot be judged
	CodeInternal      Code = "internal-error"         // undecided: a defect in this program; please report it
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
	Lookups    []attach.Lookup   `json:"lookups,omitempty"`
	Roots      []RootInfo        `json:"trustRoots,omitempty"`
	DecidedAt  time.Time         `json:"decidedAt"`
	Cached     bool              `json:"cached"` // answered from the verdict cache
}

// Admitted is the one test that an enforcement point makes.
func (v Verdict) Admitted() bool { return v.Outcome == OutcomeAdmitted }

// PolicyResult is one policy that applies to the image.
type PolicyResult struct {
	Name      string `json:"name"`
	Mode      string `json:"mode"` // "enforce" or "observe"
	Satisfied bool   `json:"satisfied"`
	// Authority is the authority that was satisfied, if one was.
	Authority string `json:"authority,omitempty"`
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
	Policy    string         `json:"policy"`
	Authority string         `json:"authority"`
	Accepted  bool           `json:"accepted"`
	Code      verify.Code    `json:"code,omitempty"`
	Reason    string         `json:"reason,omitempty"`
	Root      string         `json:"trustRoot,omitempty"` // name of the trust root it was held against
	Checks    []verify.Check `json:"checks,omitempty"`
	Signer    *verify.Signer `json:"signer,omitempty"`
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

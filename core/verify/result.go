package verify

import (
	"crypto"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/identity"
)

// Code says which kind of check refused the evidence. The set is closed: every
// error of [Verify] has one of these, and each cause has its own.
type Code string

// The reasons for which evidence is refused.
const (
	CodeMalformed       Code = "malformed-evidence"     // it cannot be read, or lacks a part that its format demands
	CodeUnsupported     Code = "unsupported-evidence"   // it is well-formed, but of a kind that cannot be verified here
	CodeWrongArtifact   Code = "wrong-artifact"         // it is about another image
	CodeSignature       Code = "invalid-signature"      // the signature does not verify under the evidence's own key
	CodeCertificate     Code = "invalid-certificate"    // the certificate's profile is not that of a code-signing leaf
	CodeUntrustedCA     Code = "untrusted-certificate"  // no certificate authority of the trust root issued it for that time
	CodeSCT             Code = "invalid-sct"            // not in the certificate log, as far as can be seen
	CodeTooFewSCTs      Code = "too-few-scts"           // in fewer distinct certificate logs than are asked for
	CodeLogEntry        Code = "log-entry-mismatch"     // a log entry is about another signature, digest or key
	CodeLog             Code = "invalid-log-proof"      // a log's promise, proof or checkpoint does not verify
	CodeUntrustedLog    Code = "untrusted-log"          // no entry is in a log of the trust root
	CodeTooFewLogs      Code = "too-few-logs"           // in fewer distinct logs than are asked for
	CodeWitnesses       Code = "witness-quorum-not-met" // too few known witnesses cosigned the checkpoint of its log entry
	CodeUnwitnessable   Code = "cannot-be-witnessed"    // witnesses are asked for, and its log entry has a promise instead of a checkpoint
	CodeTimestamp       Code = "invalid-timestamp"      // an RFC 3161 timestamp does not verify
	CodeTooFewStamps    Code = "too-few-timestamps"     // of fewer distinct timestamp authorities than are asked for
	CodeTooOld          Code = "signature-too-old"      // made longer ago than is acceptable
	CodeNoTime          Code = "no-authenticated-time"  // nothing signed says when the signature was made
	CodeIdentity        Code = "identity-mismatch"      // signed by somebody else
	CodeKey             Code = "key-mismatch"           // not signed by one of the expected keys
	CodeKeyExpired      Code = "key-outside-validity"   // signed with an expected key, outside its validity
	CodeWrongSignerKind Code = "wrong-kind-of-signer"   // a certificate where a key is wanted, or the reverse
	CodePredicate       Code = "unexpected-attestation" // an attestation where a signature of the image is required
)

// Error says why evidence was refused.
type Error struct {
	Code  Code
	Check string // the check that failed, as it stands in [Result.Checks]
	Err   error
	// Checks are those made so far; the last one is the failed one.
	Checks []Check
	// Signer is who signed, if that was verified before the failing check;
	// otherwise nil.
	Signer *Signer
}

// Error is the check and its cause.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Check, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Check is one step of a verification, for explanations.
type Check struct {
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	Value  string `json:"value,omitempty"` // what was found
	Want   string `json:"want,omitempty"`  // what was expected, where that says more than the name
}

// Signer is who made a signature: an identity certified by an authority, or a
// key. Exactly one of the two is set.
type Signer struct {
	Identity *identity.Identity `json:"identity,omitempty"`
	// Key is the name under which the policy knows the key.
	Key string `json:"key,omitempty"`
}

// String names the signer in a sentence.
func (s Signer) String() string {
	if s.Identity != nil {
		return s.Identity.String()
	}
	return "key " + s.Key
}

// Time is one authenticated statement of when the signature existed.
type Time struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"` // "rfc3161" or "log"
	URI    string    `json:"uri"`    // the authority's or log's, from the trust root
}

// LogEntry is a verified transparency log entry.
type LogEntry struct {
	Log   string `json:"log"`   // the log's URL, from the trust root
	Index int64  `json:"index"` // in the log (for Rekor v1, over all its shards)
	// Included says that an inclusion proof against a signed checkpoint was
	// verified; otherwise there was only the log's signed promise.
	Included bool `json:"included"`
}

// Result is what was verified.
type Result struct {
	Signer Signer `json:"signer"`
	// Key is the public key that verified the signature: the certificate's, or
	// the one of the expected keys that signed.
	Key crypto.PublicKey `json:"-"`
	// Statement is the JSON text of the verified in-toto statement; nil if what
	// was signed is none. It belongs to the evidence and must not be changed.
	Statement []byte     `json:"-"`
	Entries   []LogEntry `json:"entries,omitempty"`
	// Times are all the authenticated times; for a certificate there is at
	// least one, and the certificate was valid at each of them.
	Times  []Time  `json:"times,omitempty"`
	Checks []Check `json:"checks"`
}

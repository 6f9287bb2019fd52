// Package decisions is the proxy's decision log: what was decided about which
// image, for whom, and why.
//
// [Log.Record] takes a decision and returns at once. Each becomes one line of JSON in
// a file, if there is one, written by a goroutine of the log's own within a
// second: a disk that is slow or full stops no pull, and what could not be
// written is counted ([Log.Status]). The file is bounded and has one predecessor,
// FILE.1; who moves it away (logrotate) gets a new one.
//
// The latest decisions are kept in memory as well, for the page for people: the
// same answer to the same asker about the same image is one of them, with its
// number, and those who flood the proxy with pulls that are admitted push no
// refusal out. They are read back from the file when the log is opened.
package decisions

import (
	"encoding/json"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

// maxVerdict bounds a verdict in the log, in bytes. Of a larger one the signatures
// are left out: whoever may push can put many beside an image.
const maxVerdict = 16 << 10

// Decision is one answer to one request. As JSON it is a line of the log.
type Decision struct {
	ID   string    `json:"id"`   // set by Record
	Time time.Time `json:"time"` // of the answer, not of the verdict, which may be remembered
	// Who asked: the name that the client proved, empty for anybody.
	Who string `json:"who,omitempty"`
	// Address is the client's IP address.
	Address string `json:"address,omitempty"`
	// Repository is the logical name, with the registry's.
	Repository string       `json:"repository"`
	Tag        string       `json:"tag,omitempty"` // if it was asked for by one
	Digest     string       `json:"digest"`
	Outcome    gate.Outcome `json:"outcome"`
	Code       gate.Code    `json:"code"`
	Reason     string       `json:"reason"`
	// Served says that it was served although it was not admitted: the proxy only
	// observes.
	Served bool `json:"served,omitempty"`
	// Signer is who signed it, if a signature was accepted.
	Signer string `json:"signer,omitempty"`
	// Policies are the names of those that are about the image.
	Policies []string `json:"policies,omitempty"`
	// Cached says that the verdict was remembered.
	Cached bool `json:"cached,omitempty"`
	// Milliseconds is how long the request took until it was decided.
	Milliseconds float64 `json:"milliseconds"`
	// Verdict is the whole verdict of what was not admitted.
	Verdict json.RawMessage `json:"verdict,omitempty"`

	verdict gate.Verdict // what Verdict is made of when it is wanted
}

// Of is the decision that a verdict tells of. Who asked, and how long it took, is
// the caller's to add.
func Of(v gate.Verdict) Decision {
	d := Decision{
		Repository: v.Repository, Digest: v.Digest, Outcome: v.Outcome, Code: v.Code, Reason: v.Reason, Cached: v.Cached,
		Signer: signer(v), verdict: v,
	}
	for _, p := range v.Policies {
		d.Policies = append(d.Policies, p.Name)
	}
	return d
}

// signer is the first whose signature was accepted.
func signer(v gate.Verdict) string {
	for _, s := range v.Signatures {
		for _, a := range s.Attempts {
			if a.Accepted && a.Signer != nil {
				return a.Signer.String()
			}
		}
	}
	return ""
}

// whole is the verdict as JSON, within bounds; nil for what was admitted.
func (d *Decision) whole() json.RawMessage {
	v := d.verdict
	if v.Outcome == "" || v.Outcome == gate.OutcomeAdmitted && v.Code != gate.CodeObserved {
		return nil
	}
	text, err := json.Marshal(v)
	if err == nil && len(text) > maxVerdict {
		v.Signatures, v.Lookups, v.Others = nil, nil, nil
		text, err = json.Marshal(v)
	}
	if err != nil || len(text) > maxVerdict {
		return nil // the reason says what matters most
	}
	return text
}

// key is what makes two decisions the same one, given again.
func (d *Decision) key() key {
	return key{d.Who, d.Repository, d.Tag, d.Digest, d.Outcome, d.Code}
}

type key struct {
	who, repository, tag, digest string
	outcome                      gate.Outcome
	code                         gate.Code
}

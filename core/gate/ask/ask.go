// Package ask is how a program asks the agent of this host whether an image may
// run, and all that it needs for that: the question, the answer, and the exchange
// over the agent's unix socket. It links no policies, no signatures and no
// registry's client, since a program that asks once is started for each pull.
//
//	data, err := ask.Agent(ctx, "/run/touchmark/agent.sock", question)
//	answer, err := ask.Read(data, question)
//
// The protocol is HTTP with one exchange, [Path]:
//
//	POST /v1/admit  {"client":"containerd","repository":"docker.io/library/alpine","digest":"sha256:..."}
//	200             the verdict, as docs/verdict.schema.json describes it
//
// The question says where the client fetches the image from (physical), and
// never with what credentials: the agent has its own, and uses them only for
// users whose they are. It knows them by SO_PEERCRED, the kernel's word.
//
// [core/gate/remote] has the agent's side, and a client that is a gate.Admitter.
package ask

import (
	"errors"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// Path is where the question is asked.
const Path = "/v1/admit"

// PatienceHeader says for how many milliseconds the client waits, so that the
// agent can answer before that, with what it waits for itself. It is a header, and
// no field of the question, since agents that do not know it pass it over.
const PatienceHeader = "Touchmark-Patience"

// Outcome is the answer in one word.
type Outcome string

// The three answers. They are kept apart on purpose: an outage is never a
// refusal, and neither of the two admits.
const (
	Admitted  Outcome = "admitted"
	Refused   Outcome = "refused"
	Undecided Outcome = "undecided"
)

// The codes, which say why, that matter to who asks. All of them stand in core/gate.
const (
	CodeObserved  = "observed"          // enforcing would have refused, or could not have decided
	CodeNoAgent   = "agent-unavailable" // the agent, which decides, could not be asked
	CodeCancelled = "cancelled"         // the caller went away
)

// Question asks whether one image may run.
type Question struct {
	// Client is the program that asks, such as "podman". It is for the record of
	// decisions, and says whose configuration tells where images are; nobody is
	// believed to be anyone by it.
	Client       string   `json:"client,omitempty"`
	Repository   string   `json:"repository"` // the logical name
	Digest       string   `json:"digest"`
	MediaType    string   `json:"mediaType,omitempty"`
	Parents      []string `json:"parents,omitempty"` // digests
	ParentsKnown bool     `json:"parentsKnown,omitzero"`
	// Physical is the repository that the client fetches from, if it is another
	// one than Repository.
	Physical string `json:"physical,omitempty"`
}

// Answer is what of a verdict whoever asks goes by; its JSON is a part of the
// verdict's.
type Answer struct {
	Outcome    Outcome `json:"outcome"`
	Code       string  `json:"code"`
	Reason     string  `json:"reason"` // one plain sentence
	Repository string  `json:"repository"`
	Digest     string  `json:"digest"`
}

// CannotDecide is how the reason of an answer begins that decides nothing.
func CannotDecide(repository, digest string) string {
	return fmt.Sprintf("cannot decide about %s@%s: ", repository, digest)
}

// Undecided is the answer where there is none.
func (q Question) Undecided(code string, err error) Answer {
	return Answer{Outcome: Undecided, Code: code, Reason: CannotDecide(q.Repository, q.Digest) + err.Error(), Repository: q.Repository, Digest: q.Digest}
}

// Read reads a verdict's JSON as an answer to a question. What the answer leaves out
// is passed over, and an agent may be newer than who asks it.
func Read(data []byte, q Question) (Answer, error) {
	var a Answer
	if err := jsonguard.CheckOpen(data); err != nil {
		return a, fmt.Errorf("reading the verdict: %w", err)
	}
	if err := jsonv2.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("reading the verdict: %w", err)
	}
	return a, a.Check(q.Repository, q.Digest)
}

// Check reports what keeps this from being a whole and sensible answer about an image.
func (a Answer) Check(repository, digest string) error {
	switch a.Outcome {
	case Admitted, Refused, Undecided:
	default:
		return fmt.Errorf("the verdict's outcome is %q", a.Outcome)
	}
	switch {
	case a.Repository != repository || a.Digest != digest:
		return fmt.Errorf("the verdict is about %s@%s", a.Repository, a.Digest)
	case a.Code == "" || a.Reason == "":
		return errors.New("the verdict gives no reason")
	}
	return nil
}

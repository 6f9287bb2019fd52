// Package remote asks a gate in another process, over a unix socket of this
// host: `touchmark agent` answers, podman's and containerd's enforcement ask.
//
//	verdict := remote.Dial("/run/touchmark/agent.sock").Admit(ctx, request)
//
// The protocol is HTTP/1.1 with one exchange, [Path]:
//
//	POST /v1/admit  {"client":"containerd","repository":"docker.io/library/alpine","digest":"sha256:..."}
//	200             the verdict, as docs/verdict.schema.json describes it
//
// The question says where the client fetches the image from (physical), and
// never with what credentials: the agent has its own, and uses them only for
// users whose they are. It knows them by SO_PEERCRED, the kernel's word.
//
// A client gets a verdict whatever happens. Anything but a whole and sensible
// verdict about the very image that was asked about is undecided, with the code
// agent-unavailable: an agent that is away is never an admission, and never a
// missing signature.
package remote

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
)

// Path is where the question is asked.
const Path = "/v1/admit"

// patienceHeader says for how many milliseconds the client waits, so that the
// agent can answer before that, with what it waits for itself. It is a header, and
// no field of the question, since agents that do not know it pass it over.
const patienceHeader = "Touchmark-Patience"

const (
	// maxQuestion bounds a question, in bytes: eight parents, and names as long as
	// registries have them, are 2 KiB.
	maxQuestion = 16 << 10
	// maxAnswer bounds a verdict, in bytes. One that tells of all the evidence
	// that is looked at, with every check, has a few MiB.
	maxAnswer = 16 << 20
)

// Question is a [gate.Request] without what only a process of its own can have.
type Question struct {
	// Client is the program that asks, such as "podman". It is for the record of
	// decisions, and says whose configuration tells where images are; nobody is
	// believed to be anyone by it.
	Client       string   `json:"client,omitempty"`
	Repository   string   `json:"repository"` // the logical name
	Digest       string   `json:"digest"`
	MediaType    string   `json:"mediaType,omitempty"`
	Parents      []string `json:"parents,omitempty"` // digests
	ParentsKnown bool     `json:"parentsKnown,omitempty"`
	// Physical is the repository that the client fetches from, if it is another
	// one than Repository.
	Physical string `json:"physical,omitempty"`
}

// Peer is the process that asks, as the kernel says.
type Peer struct{ UID, PID int }

// ask is the question that a request stands for.
func ask(client string, req gate.Request) Question {
	q := Question{
		Client: client, Repository: req.Repository, Digest: req.Digest.String(), MediaType: req.MediaType, ParentsKnown: req.ParentsKnown,
	}
	for _, p := range req.Parents {
		q.Parents = append(q.Parents, p.String())
	}
	if repo := req.Source.Repository; repo.RepositoryStr() != "" {
		q.Physical = repo.Name()
	}
	return q
}

// Request is the request that a question stands for, but for its Source, which
// whoever answers fills in. The gate checks the names.
func (q Question) Request() (gate.Request, error) {
	req := gate.Request{Repository: q.Repository, MediaType: q.MediaType, ParentsKnown: q.ParentsKnown}
	var err error
	if req.Digest, err = v1.NewHash(q.Digest); err != nil {
		return req, err
	}
	for _, p := range q.Parents {
		digest, err := v1.NewHash(p)
		if err != nil {
			return req, err
		}
		req.Parents = append(req.Parents, digest)
	}
	return req, nil
}

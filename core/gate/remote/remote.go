// Package remote asks a gate in another process, over a unix socket of this
// host: `touchmark agent` answers, podman's and containerd's enforcement ask.
//
//	verdict := remote.Dial("/run/touchmark/agent.sock").Admit(ctx, request)
//
// The protocol is that of package ask, which programs use by itself that are to
// link no more.
//
// A client gets a verdict whatever happens. Anything but a whole and sensible
// verdict about the very image that was asked about is undecided, with the code
// agent-unavailable: an agent that is away is never an admission, and never a
// missing signature.
package remote

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
)

// maxQuestion bounds a question, in bytes: eight parents, and names as long as
// registries have them, are 2 KiB.
const maxQuestion = 16 << 10

// Peer is the process that asks, as the kernel says.
type Peer struct{ UID, PID int }

// question is what a request stands for.
func question(client string, req gate.Request) ask.Question {
	q := ask.Question{
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
func Request(q ask.Question) (gate.Request, error) {
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

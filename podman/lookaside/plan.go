package lookaside

import (
	"context"
	"fmt"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
)

const (
	// plansFor is how long the answer to signature-1 decides what the further signatures of the same pull are. Clients ask for them at once.
	plansFor = 30 * time.Second
	// maxPlans bounds the plans that are kept, at a few kilobytes each.
	maxPlans = 1024
)

// client is what the record of decisions calls those who ask here.
const client = "podman"

// plan is what the signatures of one image are, for one kind of asker.
type plan struct {
	blobs [][]byte // ours: countersignatures, or one reason
	chain string   // the lookaside whose signatures follow; empty for none
}

// decided is the verdict about an image under one of its names.
type decided struct {
	name    string // as clients spell it
	verdict gate.Verdict
}

// plan judges an image anew when its first signature is asked for. The further ones are of the same plan, so that none is left out or served twice because the
// verdict changed in between. Countersignatures in a plan expire as others do.
func (h *Handler) plan(ctx context.Context, q question, a asker) plan {
	key := planKey{q.Physical, q.Digest, a}
	if q.N > 1 {
		if p, ok := h.plans.get(key, h.Now()); ok {
			return p
		}
	}
	p := h.makePlan(ctx, q, a)
	h.plans.put(key, p, h.Now())
	return p
}

func (h *Handler) makePlan(ctx context.Context, q question, a asker) plan {
	names, err := h.Logical(q.Physical)
	if err != nil {
		return refusal(fmt.Sprintf("touchmark cannot decide: %v", err))
	}
	if len(names) == 0 {
		return refusal(fmt.Sprintf("touchmark cannot decide: by the registries.conf that its agent reads, no image is pulled from %s", q.Physical))
	}
	p := plan{}
	p.chain, _ = h.Chain(q.Physical)
	var refused []decided
	for _, name := range names {
		if !h.Required(name) {
			continue
		}
		v := h.judge(ctx, name, q, a)
		if !v.Admitted() {
			refused = append(refused, decided{name, v})
			continue
		}
		blob, err := h.Key.Countersign(name, q.Digest, h.Now())
		if err != nil {
			return refusal(fmt.Sprintf("touchmark admits the image, and cannot countersign it: %v", err))
		}
		p.blobs = append(p.blobs, blob)
	}
	if len(p.blobs) == 0 && len(refused) > 0 {
		return refusal(explain(refused, a.entitled))
	}
	return p
}

// judge asks for the verdict about one name. The name that is judged is the one that policies use; clients compare a countersignature with the name as they spell it.
func (h *Handler) judge(ctx context.Context, name string, q question, a asker) gate.Verdict {
	undecided := func(code gate.Code, err error) gate.Verdict {
		return gate.Verdict{Outcome: gate.OutcomeUndecided, Code: code, Reason: err.Error(), Repository: name, Digest: q.Digest}
	}
	repository, err := attach.NormalizeRepository(name)
	if err != nil {
		return undecided(gate.CodeBadRequest, err)
	}
	digest, err := v1.NewHash(q.Digest)
	if err != nil {
		return undecided(gate.CodeBadRequest, err)
	}
	source, err := h.Source(q.Physical, a.entitled)
	if err != nil {
		return undecided(gate.CodeLookupFailed, err)
	}
	ctx = gate.WithAsker(ctx, gate.Asker{Client: client, UID: a.uid})
	return h.Admitter.Admit(ctx, gate.Request{Repository: repository, Digest: digest, Source: source})
}

func refusal(text string) plan { return plan{blobs: [][]byte{countersign.Reason(text)}} }

// planKey tells plans apart.
type planKey struct {
	physical, digest string
	asker            asker
}

type plans struct {
	mu  sync.Mutex
	all map[planKey]planned
}

type planned struct {
	plan plan
	at   time.Time
}

func newPlans() *plans { return &plans{all: make(map[planKey]planned)} }

func (s *plans) get(key planKey, now time.Time) (plan, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.all[key]
	return p.plan, ok && p.fresh(now)
}

func (p planned) fresh(now time.Time) bool {
	age := now.Round(0).Sub(p.at.Round(0))
	return age >= 0 && age < plansFor
}

func (s *plans) put(key planKey, p plan, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxPlans {
		for k, old := range s.all {
			if !old.fresh(now) {
				delete(s.all, k)
			}
		}
	}
	if len(s.all) >= maxPlans {
		clear(s.all) // more pulls at once than are kept: their further signatures are judged again
	}
	s.all[key] = planned{p, now}
}

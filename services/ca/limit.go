package ca

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// burstSeconds is how many seconds' worth of certificates may be asked for at once, which is how a build that signs many images asks.
	burstSeconds = 20

	// maxRemembered bounds the identities of one generation whose use is remembered.
	maxRemembered = 10_000
)

// limits holds each identity, and all together, to a rate. Memory is bounded by keeping two generations of identities: a full one
// becomes the old one, and the old one is forgotten. To be forgotten, somebody needs ten thousand verified identities.
type limits struct {
	perIdentity rate.Limit
	total       *rate.Limiter

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

func newLimits(perIdentity, total float64) *limits {
	return &limits{perIdentity: limit(perIdentity), total: limiter(limit(total)), young: map[string]*rate.Limiter{}}
}

func limit(perSecond float64) rate.Limit {
	if perSecond < 0 {
		return rate.Inf
	}
	return rate.Limit(perSecond)
}

func limiter(perSecond rate.Limit) *rate.Limiter {
	if perSecond == rate.Inf {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(perSecond, max(1, int(perSecond*burstSeconds)))
}

// allow takes one certificate from the identity's share, and then from everybody's: who is over their own limit uses up nothing of
// the others'.
func (l *limits) allow(identity string, now time.Time) error {
	if !l.of(identity).AllowN(now, 1) {
		return &refusal{http.StatusTooManyRequests, codeResourceExhausted, msgLimit, errors.New("by this identity")}
	}
	if !l.total.AllowN(now, 1) {
		return &refusal{http.StatusTooManyRequests, codeResourceExhausted, msgLimit, errors.New("by all identities together")}
	}
	return nil
}

func (l *limits) of(identity string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.young[identity]
	if found != nil {
		return found
	}
	if found = l.old[identity]; found == nil {
		found = limiter(l.perIdentity)
	}
	if len(l.young) >= maxRemembered {
		l.old, l.young = l.young, map[string]*rate.Limiter{}
	}
	l.young[identity] = found
	return found
}

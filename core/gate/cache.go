package gate

import (
	"container/list"
	"sync"
	"time"
)

const (
	// admittedFor is how long an admission is given again.
	admittedFor = 10 * time.Minute
	// refusedFor is how long a refusal is given again: long enough to blunt a
	// client that asks in a loop, short enough that an image can be pulled right
	// after it was signed.
	refusedFor = time.Second
	// maxWeight bounds the cache: ten thousand ordinary verdicts, or fewer that
	// tell of many signatures, which anybody who may push can put there. At a few
	// hundred bytes each, that is some 50 MiB.
	maxWeight = 200_000
	// maxClockDrift is how far the wall clock may depart from the monotonic one
	// before everything is judged anew.
	maxClockDrift = time.Minute
)

// cache keeps verdicts for a while, the least recently used go first.
// Undecided ones are not kept: whoever asks again wants a new attempt.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	byKey   map[string]*list.Element // of *cached
	recent  *list.List               // most recently used first
	weight  int                      // of all verdicts
	checked time.Time                // when the clock was last looked at
}

type cached struct {
	key     string
	verdict Verdict
	until   time.Time
	weight  int
}

// weigh counts what a verdict tells of.
func weigh(v Verdict) int {
	n := 1 + len(v.Policies) + len(v.Lookups) + len(v.Roots) + len(v.Others)
	for _, sig := range v.Signatures {
		n++
		for _, a := range sig.Attempts {
			n += 1 + len(a.Checks) + len(a.Entries) + len(a.Times)
		}
	}
	return n
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, byKey: make(map[string]*list.Element), recent: list.New(), checked: now()}
}

func (c *cache) get(key string) (Verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	el, ok := c.byKey[key]
	if !ok {
		return Verdict{}, false
	}
	entry := el.Value.(*cached)
	if now.After(entry.until) {
		c.remove(el)
		return Verdict{}, false
	}
	c.recent.MoveToFront(el)
	return entry.verdict, true
}

// put keeps a verdict for its time, and no longer than until, if that is set.
// It returns when that time ends; zero if the verdict is not kept.
func (c *cache) put(key string, v Verdict, until time.Time) time.Time {
	keep := admittedFor
	switch {
	case v.Outcome == OutcomeUndecided:
		return time.Time{}
	case v.Outcome == OutcomeRefused, v.Code == CodeObserved: // which enforcing would refuse, or could not decide
		keep = refusedFor
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	if el, ok := c.byKey[key]; ok {
		c.remove(el)
	}
	entry := &cached{key: key, verdict: v, until: now.Add(keep), weight: weigh(v)}
	if !until.IsZero() && until.Before(entry.until) {
		entry.until = until
	}
	c.byKey[key] = c.recent.PushFront(entry)
	c.weight += entry.weight
	for c.weight > maxWeight {
		c.remove(c.recent.Back())
	}
	return entry.until
}

func (c *cache) remove(el *list.Element) {
	entry := c.recent.Remove(el).(*cached)
	delete(c.byKey, entry.key)
	c.weight -= entry.weight
}

// clock reads the time, and empties the cache if the wall clock was set.
func (c *cache) clock() time.Time {
	now := c.now()
	elapsed := now.Sub(c.checked)                // by the monotonic clock, where there is one
	wall := now.Round(0).Sub(c.checked.Round(0)) // by the wall clock
	if wall < 0 || (wall-elapsed).Abs() > maxClockDrift {
		clear(c.byKey)
		c.recent.Init()
		c.weight = 0
	}
	c.checked = now
	return now
}

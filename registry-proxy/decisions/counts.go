package decisions

import (
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

// step and steps are how answers are counted over time: by the hour, for two days.
const (
	step  = time.Hour
	steps = 48
)

// Count is how many answers there were in the hour that begins at Start.
type Count struct {
	Start                        time.Time
	Admitted, Refused, Undecided int
}

// counts is a ring of hours.
type counts [steps]Count

func (c *counts) add(d Decision) {
	start := d.Time.Truncate(step)
	at := &c[int(start.Unix()/int64(step/time.Second))%steps]
	switch {
	case start.Before(at.Start):
		return // older than what is counted
	case start.After(at.Start):
		*at = Count{Start: start}
	}
	switch {
	case d.Outcome == gate.OutcomeUndecided:
		at.Undecided++
	case d.Outcome == gate.OutcomeRefused || d.Code == gate.CodeObserved:
		at.Refused++
	default:
		at.Admitted++
	}
}

// until are the hours up to now, the oldest first.
func (c *counts) until(now time.Time) []Count {
	out := make([]Count, steps)
	last := now.Truncate(step)
	for i := range out {
		start := last.Add(-time.Duration(steps-1-i) * step)
		out[i] = Count{Start: start.UTC()}
		if at := c[int(start.Unix()/int64(step/time.Second))%steps]; at.Start.Equal(start) {
			out[i] = at
		}
	}
	return out
}

// Package steady is about time that ends something: a trust root, a token, what is
// kept for an outage.
//
//	clock := steady.New(time.Now) // at the start of the process
//	if clock.Now().After(token.Expiry) { ... }
//
// A machine has two clocks. The wall clock can be set, by an administrator or by
// whoever answers for a time server; the monotonic one only counts, stands still
// while the machine sleeps, and begins anew with it. What must end has ended as soon
// as one of them says so: setting the wall clock back gives nothing more time in a
// process that runs. When the wall clock comes back, all is as if it had not been
// away.
//
// That has a price. Where the wall clock was ahead when the process started, and is
// corrected later, things end too early until the process is started again. So it is
// for what is only refused, or asked for again, when it has ended, and not for times
// that are written down or told to others.
package steady

import "time"

// Clock tells the time. Its methods may be called at the same time.
type Clock struct {
	now   func() time.Time
	began time.Time
}

// New makes a clock that counts from now on. The times of now should have a monotonic
// reading, as time.Now's do; without one, only the wall clock counts.
func New(now func() time.Time) *Clock { return &Clock{now: now, began: now()} }

// Now is the later of the wall clock's time and the one that the monotonic clock has
// counted since [New].
func (c *Clock) Now() time.Time {
	now := c.now()
	if counted := c.began.Round(0).Add(now.Sub(c.began)); counted.After(now.Round(0)) {
		return counted
	}
	return now
}

// Age is how long ago something was by the clock that says more, and how far ahead it
// lies if that is what they say: what is kept for a while must not be kept for longer
// because a clock was set.
func Age(at, now time.Time) time.Duration {
	return max(now.Sub(at).Abs(), now.Round(0).Sub(at.Round(0)).Abs())
}

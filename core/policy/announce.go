package policy

import (
	"fmt"
	"time"
)

// Notice announces that an exception ends, or that a pin should be looked at
// again.
type Notice struct {
	Kind  string // "exception" or "pin"
	Image string // "sha256:..." or "repository@sha256:..."
	At    time.Time
	// Days is the announcement that is due: 14, 7 or 1 days ahead, or 0 if the time
	// has come. Whoever announces does so when it changes.
	Days int
	Text string // one sentence, for people
}

// announced is how many days ahead something is announced, the nearest first.
var announced = []int{1, 7, 14}

// Notices are what is to be announced at a time, in the order of the file.
func (e *Enforcement) Notices(now time.Time) []Notice {
	var out []Notice
	for _, x := range e.Exceptions {
		if days, ok := due(x.Expires, now); ok {
			n := Notice{Kind: "exception", Image: imageText(x.Repository, x.Digest), At: x.Expires, Days: days}
			verb := "ends"
			if days == 0 {
				verb = "has ended"
			}
			n.Text = fmt.Sprintf("the exception for %s %s on %s (%s, by %s)", n.Image, verb, x.Expires.UTC().Format(time.DateOnly), x.Reason, x.By)
			out = append(out, n)
		}
	}
	for _, p := range e.Pins {
		if days, ok := due(p.Review, now); ok && !p.Review.IsZero() {
			n := Notice{Kind: "pin", Image: imageText(p.Repository, p.Digest), At: p.Review, Days: days}
			n.Text = fmt.Sprintf("the pin of %s is to be reviewed by %s", n.Image, p.Review.UTC().Format(time.DateOnly))
			out = append(out, n)
		}
	}
	return out
}

// due says which announcement of a moment is due.
func due(at, now time.Time) (days int, ok bool) {
	if !now.Before(at) {
		return 0, true
	}
	for _, n := range announced {
		if at.Sub(now) <= time.Duration(n)*24*time.Hour {
			return n, true
		}
	}
	return 0, false
}

// imageText is what [ParseImage] reads.
func imageText(repository, digest string) string {
	if repository == "" {
		return digest
	}
	return repository + "@" + digest
}

package trustroot

import (
	"context"
	"log/slog"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const day = 24 * time.Hour

// term is how long a role's metadata lives, and when it is renewed.
type term struct{ life, renewAfter time.Duration }

// The terms. Root and targets are renewed once a year by people, unless their keys are at hand. The timestamp is what clients must
// have: daily renewal leaves them six days if the stack stops, which covers a weekend, and bounds a freeze by whoever stands between
// to a week. The snapshot is signed by the same key, so that a shorter life would protect from nobody.
var terms = map[string]term{
	metadata.ROOT:      {365 * day, 182 * day},
	metadata.TARGETS:   {365 * day, 182 * day},
	metadata.SNAPSHOT:  {21 * day, 7 * day},
	metadata.TIMESTAMP: {7 * day, 1 * day},
}

// expiry is when metadata of a role ends that is made now, in whole seconds as the specification writes it.
func expiry(role string, now time.Time) time.Time {
	return now.UTC().Truncate(time.Second).Add(terms[role].life)
}

// due reports whether a role's metadata has to be renewed: it is old enough, or it lives longer than it should, because the clock was
// wrong when it was made.
func (r *Repository) due(role string, expires, now time.Time) bool {
	age := terms[role].life - expires.Sub(now)
	return age >= terms[role].renewAfter || age < -day
}

// warn says that metadata for which a key is missing is running out: at 50, 75, 90 and 100 % of its life, each once.
func (r *Repository) warn(role string, expires, now time.Time) {
	share := 100 - int(100*expires.Sub(now)/terms[role].life)
	for _, limit := range []int{100, 90, 75, 50} {
		if share < limit {
			continue
		}
		if r.warned[role] < limit {
			r.warned[role] = limit
			level := slog.LevelWarn
			if limit >= 90 {
				level = slog.LevelError
			}
			r.logger.Log(context.Background(), level, "TUF metadata is running out, and its key is missing: put it back and start again",
				"role", role, "percent", share, "expires", expires)
		}
		return
	}
}

package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
)

// checkTimes verifies the RFC 3161 timestamps and makes sure that a certificate
// has at least one authenticated time. Timestamps of authorities that the trust
// root does not know prove nothing and are ignored.
func (r *run) checkTimes() error {
	var problem error
	for i, der := range r.Evidence.Timestamps {
		if r.Root == nil {
			break
		}
		t, err := r.verifyTimestamp(der)
		if err != nil {
			problem = fmt.Errorf("timestamp %d: %w", i, err)
			continue
		}
		r.result.Times = append(r.result.Times, t)
		r.pass(checkTime, fmt.Sprintf("%s by %s", t.Time.Format(time.RFC3339), t.URI), "")
	}
	if len(r.result.Times) == 0 && r.leaf != nil {
		if problem != nil {
			return r.refuse(CodeTimestamp, checkTime, "%w", problem)
		}
		return r.refuse(CodeNoTime, checkTime, "nothing signed says when the signature was made: there is neither a signed entry timestamp nor an RFC 3161 timestamp")
	}
	for _, log := range r.unwindowed {
		if !r.anyTimeWithin(log.Window) {
			return r.refuse(CodeUntrustedLog, checkTime, "the log %s is trusted %s, which is not when the signature was made", log.BaseURL, log.Window)
		}
	}
	return nil
}

func (r *run) anyTimeWithin(w trust.Window) bool {
	if len(r.result.Times) == 0 {
		// A key's signature without a time: nothing says that it is older than
		// the end of the log's window, so that must not have come.
		return w.End.IsZero() || w.Contains(r.Now)
	}
	for _, t := range r.result.Times {
		if w.Contains(t.Time) {
			return true
		}
	}
	return false
}

// verifyTimestamp verifies a timestamp over the signature with any one of the
// trust root's authorities, within that same authority's window.
func (r *run) verifyTimestamp(der []byte) (Time, error) {
	token, err := tsp.Parse(der)
	if err != nil {
		return Time{}, err
	}
	err = errors.New("the trust root has no timestamp authority")
	for i := range r.Root.TimestampAuthorities {
		tsa := &r.Root.TimestampAuthorities[i]
		if err = token.Verify(r.Evidence.Signature(), tsa.Authority); err != nil {
			continue
		}
		if !tsa.Window.Contains(token.Time) {
			err = fmt.Errorf("the authority %s is trusted %s, but the timestamp is of %s", tsa.URI, tsa.Window, token.Time.UTC().Format(time.RFC3339))
			continue
		}
		return Time{Time: token.Time.UTC(), Source: "rfc3161", URI: tsa.URI}, nil
	}
	return Time{}, err
}

package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
)

// checkTimes verifies the RFC 3161 timestamps and makes sure that there are
// enough of them, and that a certificate has at least one authenticated time.
// Timestamps of authorities that the trust root does not know prove nothing and
// are ignored.
func (r *run) checkTimes() error {
	var problem error
	var authorities distinct
	root := r.timestampRoot()
	for i, untrusted := range r.Evidence.Timestamps {
		if root == nil {
			break
		}
		at, tsa, err := r.verifyTimestamp(untrusted, root)
		if err != nil {
			problem = fmt.Errorf("timestamp %d: %w", i, err)
			continue
		}
		authorities.add(tsa.Authority.Leaf.PublicKey)
		r.result.Times = append(r.result.Times, Time{Time: at, Source: "rfc3161", URI: tsa.URI})
		r.pass(checkTime, fmt.Sprintf("%s by %s", at.Format(time.RFC3339), tsa.URI), "")
	}
	if n := len(authorities); n < r.Require.Timestamps {
		if problem != nil {
			return r.refuse(CodeTimestamp, checkTime, "timestamps of %d authorities are good, wanted are %d: %w", n, r.Require.Timestamps, problem)
		}
		return r.refuse(CodeTooFewStamps, checkTime, "it has timestamps of %d distinct authorities of the trust root %s, wanted are %d", n, root.Name, r.Require.Timestamps)
	}
	if len(r.result.Times) == 0 && (r.leaf != nil || !r.Require.NotBefore.IsZero()) {
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
	return r.checkAge()
}

// checkAge refuses a signature of which any authenticated time is too early.
func (r *run) checkAge() error {
	oldest := r.Require.NotBefore
	for _, t := range r.result.Times {
		if t.Time.Before(oldest) {
			made, limit := t.Time.Format(time.RFC3339), oldest.UTC().Format(time.RFC3339)
			return r.fail(CodeTooOld, checkTime, made, "not before "+limit, fmt.Errorf("it was made at %s, signatures from before %s are too old", made, limit))
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
func (r *run) verifyTimestamp(untrustedDER []byte, root *trust.Root) (time.Time, *trust.TimestampAuthority, error) {
	token, err := tsp.Parse(untrustedDER)
	if err != nil {
		return time.Time{}, nil, err
	}
	err = errors.New("the trust root has no timestamp authority")
	for i := range root.TimestampAuthorities {
		tsa := &root.TimestampAuthorities[i]
		if err = token.Verify(r.stamped(token), tsa.Authority); err != nil {
			continue
		}
		if !tsa.Window.Contains(token.Time) {
			err = fmt.Errorf("the authority %s is trusted %s, but the timestamp is of %s", tsa.URI, tsa.Window, token.Time.UTC().Format(time.RFC3339))
			continue
		}
		return token.Time.UTC(), tsa, nil
	}
	return time.Time{}, nil, err
}

// stamped is what a timestamp must be over: the signature or, for a legacy
// attestation, the envelope's text with the signature in it, which is what cosign
// 2 had stamped.
func (r *run) stamped(token *tsp.Token) []byte {
	if env := r.Evidence.Envelope; env != nil && env.Text != nil && token.Covers(env.Text) {
		return env.Text
	}
	return r.Evidence.Signature()
}

package verify

import (
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/trust"
)

// Requirements are what evidence must hold beyond a good signature. The zero
// value asks for what Sigstore's clients usually ask for: one signature log,
// one certificate log, and any authenticated time.
//
// Whoever vouches twice counts once: logs and authorities are told apart by
// their keys, whatever their names, IDs and URLs are.
type Requirements struct {
	// Logs is how many distinct signature logs must hold the signature; 0 is 1.
	Logs int
	// Timestamps is how many distinct RFC 3161 authorities must have stamped the
	// signature; 0 asks for none.
	Timestamps int
	// SCTs is how many distinct certificate logs must hold the certificate; 0 is
	// 1.
	SCTs int
	// Witnesses, of which Quorum distinct ones must have cosigned the checkpoint
	// that a log entry is proven against. Where a quorum is asked for, entries
	// without it do not count, and neither does a promise without a proof.
	Witnesses []*tlog.Witness
	Quorum    int
	// NotBefore refuses signatures of which any authenticated time is earlier, and
	// those that have none. Zero refuses nothing.
	NotBefore time.Time
	// InsecureNoLog admits signatures by certificates that are in no signature
	// log, as long as Timestamps authorities say when they were made: the owner of
	// the identity then cannot find out about a stolen token.
	InsecureNoLog bool
}

// check refuses what contradicts itself.
func (q Requirements) check(in Input) error {
	keyed := len(in.Signer.keys) > 0
	switch {
	case q.Logs < 0 || q.Timestamps < 0 || q.SCTs < 0 || q.Quorum < 0:
		return errors.New("requirements: a threshold is negative")
	case q.Quorum > distinctWitnesses(q.Witnesses):
		return fmt.Errorf("requirements: a quorum of %d is more than there are witnesses", q.Quorum)
	case q.InsecureNoLog && q.Timestamps == 0:
		return errors.New("requirements: InsecureNoLog without timestamps leaves nothing that says when the signature was made")
	case q.InsecureNoLog && keyed:
		return errors.New("requirements: InsecureNoLog is for certificates; keys have InsecureIgnoreLog")
	case q.Logs > 0 && (q.InsecureNoLog || in.InsecureIgnoreLog && keyed):
		return errors.New("requirements: logs are both required and ignored")
	case q.SCTs > 0 && in.InsecureIgnoreSCT:
		return errors.New("requirements: certificate logs are both required and ignored")
	case in.timestampRoot() == nil && q.Timestamps > 0:
		return errors.New("requirements: timestamps are required, but there is no trust root")
	}
	return nil
}

func distinctWitnesses(witnesses []*tlog.Witness) int {
	var keys distinct
	for _, w := range witnesses {
		keys.add(w.Key)
	}
	return len(keys)
}

// minLogs is how many distinct logs must hold the signature.
func (in Input) minLogs() int {
	ignored := in.InsecureIgnoreLog && len(in.Signer.keys) > 0 || in.Require.InsecureNoLog
	if ignored && in.Require.Quorum == 0 {
		return 0
	}
	return max(1, in.Require.Logs)
}

// logRoot is the trust root of signature logs.
func (in Input) logRoot() *trust.Root {
	if in.LogRoot != nil {
		return in.LogRoot
	}
	return in.Root
}

// timestampRoot is the trust root of timestamp authorities.
func (in Input) timestampRoot() *trust.Root {
	if in.TimestampRoot != nil {
		return in.TimestampRoot
	}
	return in.Root
}

// distinct is a set of public keys: what makes two that vouch different.
type distinct []crypto.PublicKey

// add puts a key into the set, unless it is there.
func (d *distinct) add(key crypto.PublicKey) {
	for _, other := range *d {
		if k, ok := other.(interface{ Equal(crypto.PublicKey) bool }); ok && k.Equal(key) {
			return
		}
	}
	*d = append(*d, key)
}

package verify

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/jsonguard"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/trust"
)

// checkEntries checks every entry that is in a log of the trust root, and that
// there are enough of them. Entries in other logs are ignored: they prove
// nothing, and a signer may well use more logs than this verifier knows.
func (r *run) checkEntries() error {
	root := r.logRoot()
	if root == nil {
		r.pass(checkEntry, "not asked for", "")
		return nil
	}
	var logs distinct
	for _, untrusted := range r.Evidence.Entries {
		log := root.FindLog(untrusted.LogID)
		if log == nil {
			continue
		}
		witnesses, err := r.checkLogEntry(untrusted, log)
		if err != nil {
			return err
		}
		if r.Require.Quorum == 0 || r.hasQuorum(untrusted, witnesses) {
			logs.add(log.Key)
		}
	}
	switch want := r.minLogs(); {
	case len(logs) >= want:
		return nil
	case r.noQuorum != nil:
		return r.noQuorum
	case len(logs) > 0:
		return r.refuse(CodeTooFewLogs, checkEntry, "it is in %d distinct logs of the trust root %s, wanted are %d", len(logs), root.Name, want)
	}
	want := "a log of trust root " + root.Name
	if len(r.Evidence.Entries) == 0 {
		return r.fail(CodeUntrustedLog, checkEntry, "no log entry", want, fmt.Errorf("it has no log entry, wanted is one in a log of the trust root %s", root.Name))
	}
	found := fmt.Sprintf("an entry in log %x", r.Evidence.Entries[0].LogID)
	return r.fail(CodeUntrustedLog, checkEntry, found, want, fmt.Errorf("it has %s, but none in a log of the trust root %s", found, root.Name))
}

// hasQuorum reports whether enough witnesses cosigned the checkpoint of an
// entry, and remembers the first reason why not.
func (r *run) hasQuorum(untrusted bundle.Entry, witnesses int) bool {
	want := r.Require.Quorum
	switch {
	case witnesses >= want:
		r.pass(checkWitnesses, fmt.Sprintf("%d witnesses", witnesses), fmt.Sprintf("%d witnesses", want))
		return true
	case r.noQuorum != nil:
	case untrusted.Proof == nil:
		r.noQuorum = r.refuse(CodeUnwitnessable, checkWitnesses,
			"its %s %s log entry has a promise and no checkpoint, so witnesses cannot have cosigned it; wanted are %d", untrusted.Kind, untrusted.Version, want)
	default:
		r.noQuorum = r.refuse(CodeWitnesses, checkWitnesses,
			"%d of the known witnesses cosigned the checkpoint of its log entry, wanted are %d", witnesses, want)
	}
	return false
}

// checkLogEntry checks one entry: that it is about this very signature, and
// that the log holds it. It returns how many witnesses cosigned the checkpoint.
func (r *run) checkLogEntry(untrusted bundle.Entry, log *trust.Log) (witnesses int, err error) {
	body, v2, err := r.rebuildBody(untrusted)
	if err != nil {
		var unsupported *unsupportedEntry
		if errors.As(err, &unsupported) {
			return 0, r.refuse(CodeUnsupported, checkEntry, "%w", err)
		}
		return 0, r.refuse(CodeLogEntry, checkEntry, "%w", err)
	}
	// The leaf that is proven below is the rebuilt one. The body that came with
	// the evidence is compared so that it can't say anything else to a reader.
	if !bytes.Equal(body, untrusted.Body) {
		return 0, r.refuse(CodeLogEntry, checkEntry, "the %s %s entry is not about this signature, digest and key", untrusted.Kind, untrusted.Version)
	}
	r.pass(checkEntry, fmt.Sprintf("%s %s, index %d", untrusted.Kind, untrusted.Version, untrusted.LogIndex), "")

	verified := LogEntry{Log: log.BaseURL, Index: untrusted.LogIndex}
	switch {
	case untrusted.SET == nil && untrusted.Proof == nil:
		return 0, r.refuse(CodeLog, checkProof, "the log entry has neither a promise nor a proof")
	case v2 && untrusted.Proof == nil:
		return 0, r.refuse(CodeLog, checkProof, "the Rekor v2 entry has no inclusion proof")
	case v2 && untrusted.SET != nil:
		return 0, r.refuse(CodeLog, checkProof, "the Rekor v2 entry has a signed entry timestamp, which such logs don't make")
	}
	if untrusted.SET != nil {
		if err := r.checkPromise(untrusted, body, log); err != nil {
			return 0, err
		}
	} else {
		r.unwindowed = append(r.unwindowed, log)
	}
	if untrusted.Proof != nil {
		if witnesses, err = r.checkInclusion(untrusted, body, log, v2); err != nil {
			return 0, r.refuse(CodeLog, checkProof, "%w", err)
		}
		verified.Included = true
		if untrusted.SET == nil && !v2 {
			// Only the promise covers the index over all shards.
			verified.Index = untrusted.Proof.Index
		}
		r.pass(checkProof, fmt.Sprintf("index %d of %d leaves", untrusted.Proof.Index, untrusted.Proof.TreeSize), "")
	}
	r.result.Entries = append(r.result.Entries, verified)
	return witnesses, nil
}

// checkPromise verifies a Rekor v1 signed entry timestamp and takes the
// integrated time from it.
func (r *run) checkPromise(untrusted bundle.Entry, body []byte, log *trust.Log) error {
	key, ok := log.Key.(*ecdsa.PublicKey)
	if !ok {
		return r.refuse(CodeLog, checkProof, "the log %s does not make signed entry timestamps", log.BaseURL)
	}
	promise := entry.Promise{Body: body, IntegratedTime: untrusted.IntegratedTime, LogIndex: untrusted.LogIndex, LogID: untrusted.LogID}
	if err := promise.Verify(key, untrusted.SET); err != nil {
		return r.refuse(CodeLog, checkProof, "%w", err)
	}
	at := time.Unix(untrusted.IntegratedTime, 0).UTC()
	if !log.Window.Contains(at) {
		return r.fail(CodeUntrustedLog, checkProof, at.Format(time.RFC3339), log.Window.String(),
			fmt.Errorf("the log %s is trusted %s, but the entry is of %s", log.BaseURL, log.Window, at.Format(time.RFC3339)))
	}
	r.result.Times = append(r.result.Times, Time{Time: at, Source: "log", URI: log.BaseURL})
	r.pass(checkProof, "signed entry timestamp of "+at.Format(time.RFC3339), "")
	return nil
}

// originV1 is the form of a Rekor v1 checkpoint's origin: the log's name and
// the tree's ID.
var originV1 = regexp.MustCompile(`^(\S+) - [0-9]+$`)

// checkInclusion verifies the inclusion proof of a body against the checkpoint
// that came with it, and that checkpoint's signature. It returns how many of the
// required witnesses cosigned the checkpoint.
func (r *run) checkInclusion(untrusted bundle.Entry, body []byte, log *trust.Log, v2 bool) (witnesses int, err error) {
	p := untrusted.Proof
	name := ""
	if v2 {
		u, err := url.Parse(log.BaseURL)
		if err != nil || u.Hostname() == "" {
			return 0, fmt.Errorf("the trust root's baseUrl of the log, %q, names no host", log.BaseURL)
		}
		name = u.Hostname()
	} else {
		// A v1 log signs under a name that private deployments often leave at
		// its default; the key, which is in the trust root, decides.
		origin, _, _ := strings.Cut(p.Checkpoint, "\n")
		m := originV1.FindStringSubmatch(origin)
		if m == nil {
			return 0, fmt.Errorf("checkpoint: its origin %q is not that of a Rekor v1 log", jsonguard.Excerpt(origin))
		}
		name = m[1]
	}
	verifier, err := tlog.NewVerifier(name, log.Key)
	if err != nil {
		return 0, err
	}
	cp, cosigners, err := verifier.OpenCosigned(p.Checkpoint, r.Require.Witnesses)
	if err != nil {
		return 0, err
	}
	switch {
	case v2 && cp.Origin != name:
		return 0, fmt.Errorf("checkpoint: its origin is %q, want %q", cp.Origin, name)
	case v2 && p.Index != untrusted.LogIndex:
		return 0, fmt.Errorf("inclusion proof: it is for index %d, the entry has %d", p.Index, untrusted.LogIndex)
	case uint64(p.TreeSize) != cp.Size || !bytes.Equal(p.RootHash, cp.Root[:]):
		return 0, errors.New("inclusion proof: its tree is not the checkpoint's")
	}
	return distinctWitnesses(cosigners), tlog.VerifyInclusion(tlog.LeafHash(body), uint64(p.Index), p.Hashes, cp)
}

package oracles

import (
	"bytes"
	"crypto"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// logged is a flaw of what was logged, with a right promise and proof of it.
func logged(body func(d *draft) []byte) func(*draft) {
	return func(d *draft) {
		text := body(d)
		d.evidence.Entries = nil
		d.enter(text)
	}
}

// promised insists on an entry with a SET.
func promised(s *shape) { s.v2, s.promise = false, true }

// another is a copy of the evidence with a part exchanged.
func (d *draft) another(change func(e *bundle.Evidence)) *bundle.Evidence {
	e := *d.evidence
	if e.Envelope != nil {
		copied := *e.Envelope
		e.Envelope = &copied
	} else {
		copied := *e.Message
		e.Message = &copied
	}
	change(&e)
	return &e
}

func setSignature(e *bundle.Evidence, signature []byte) {
	if e.Envelope != nil {
		e.Envelope.Signature = signature
	} else {
		e.Message.Signature = signature
	}
}

const (
	needlessIndex = "of a Rekor v2 entry sigstore-go proves the index in the entry, and ignores the one in the proof"
	windowless    = "sigstore-go holds a log's window against the time in a promise only; an entry with proof alone passes under a retired log"
)

var logFlaws = []flaw{
	{"entry of another signature", verify.CodeLogEntry, nil, logged(func(d *draft) []byte {
		other := d.another(func(e *bundle.Evidence) {
			sign := by(func(d *draft) crypto.Signer { return d.key })
			if e.Envelope != nil {
				setSignature(e, sign(d, bundle.PAE(e.Envelope.PayloadType, e.Envelope.Payload)))
			} else {
				setSignature(e, sign(d, nil))
			}
			if bytes.Equal(e.Signature(), d.evidence.Signature()) { // RSA and Ed25519 sign the same way each time
				setSignature(e, d.flip(e.Signature()))
			}
		})
		return d.bodyFor(other, d.digest, d.key.Public())
	}), ""},
	{"entry of another key", verify.CodeLogEntry, keyed, logged(func(d *draft) []byte { return d.bodyFor(d.evidence, d.digest, stranger(d).Public()) }), ""},
	{"entry of another certificate", verify.CodeLogEntry, keyless, logged(func(d *draft) []byte {
		other := d.another(func(e *bundle.Evidence) {
			e.Certificates = [][]byte{d.s.Certificate(d.tb, coretest.Email(campaignSubject), d.key.Public())}
		})
		return d.bodyFor(other, d.digest, d.key.Public())
	}), ""},
	{"entry of another image", verify.CodeLogEntry, message, logged(func(d *draft) []byte { return d.bodyFor(d.evidence, d.otherDigest(), d.key.Public()) }), ""},
	{"entry of another payload", verify.CodeLogEntry, envelope, logged(func(d *draft) []byte {
		return d.bodyFor(d.another(func(e *bundle.Evidence) { e.Envelope.Payload = append(bytes.Clone(e.Envelope.Payload), ' ') }), d.digest, d.key.Public())
	}), ""},
	{"entry with white space", verify.CodeLogEntry, nil, logged(func(d *draft) []byte { return append(d.body(), ' ') }),
		"sigstore-go compares Rekor v1 bodies by meaning; the log would never make this one"},
	{"entry with an unknown field", verify.CodeLogEntry, nil, logged(func(d *draft) []byte { return bytes.Replace(d.body(), []byte("{"), []byte(`{"a":1,`), 1) }),
		"sigstore-go compares Rekor v1 bodies by meaning; the log would never make this one"},
	{"body changed", verify.CodeLogEntry, nil, func(d *draft) {
		body := d.entry().Body
		i := bytes.LastIndexByte(body, '"') - 3 - d.random.IntN(20)
		body = bytes.Clone(body)
		body[i] ^= 2
		d.entry().Body = body
	}, "of a Rekor v2 entry sigstore-go, too, proves what it rebuilt itself, and then ignores the body that came along"},

	{"promise with a flipped bit", verify.CodeLog, promised, func(d *draft) { d.entry().SET = d.flip(d.entry().SET) }, ""},
	{"promise by another key", verify.CodeLog, promised, func(d *draft) { d.entry().SET = d.cast.foreign.V1.Promise(d.tb, *d.entry()) }, ""},
	{"promise of another time", verify.CodeLog, promised, func(d *draft) { d.entry().IntegratedTime += int64(d.random.IntN(100)) - 200 }, ""},
	{"promise of another index", verify.CodeLog, promised, func(d *draft) { d.entry().LogIndex += int64(1 + d.random.IntN(100)) }, ""},
	{"promise of a v2 log", verify.CodeLog, rekor2, func(d *draft) { d.entry().SET, d.entry().IntegratedTime = d.flip(d.evidence.Signature()), 1 }, ""},
	{"proof of the next index", verify.CodeLog, nil, func(d *draft) { d.entry().Proof.Index++ }, needlessIndex},
	{"proof of the index before", verify.CodeLog, nil, func(d *draft) { d.entry().Proof.Index-- }, needlessIndex},
	{"proof with a flipped bit", verify.CodeLog, nil, func(d *draft) {
		hashes := slices.Clone(d.entry().Proof.Hashes)
		i := d.random.IntN(len(hashes))
		hashes[i] = d.flip(hashes[i])
		d.entry().Proof.Hashes = hashes
	}, ""},
	{"proof one hash short", verify.CodeLog, nil, func(d *draft) { d.entry().Proof.Hashes = d.entry().Proof.Hashes[1:] }, ""},
	{"proof one hash long", verify.CodeLog, nil, func(d *draft) {
		d.entry().Proof.Hashes = append(slices.Clone(d.entry().Proof.Hashes), make([]byte, 32))
	}, ""},
	{"proof to a tree of one's own", verify.CodeLog, nil, func(d *draft) {
		leaf := tlog.LeafHash(d.entry().Body)
		p := d.entry().Proof
		p.Index, p.TreeSize, p.Hashes, p.RootHash = 0, 1, nil, leaf[:]
		if d.shape.v2 {
			d.entry().LogIndex = 0
		}
	}, ""},
	{"checkpoint of a tree of one's own, signed by another", verify.CodeLog, nil, func(d *draft) {
		leaf := tlog.LeafHash(d.entry().Body)
		p := d.entry().Proof
		p.Index, p.TreeSize, p.Hashes, p.RootHash = 0, 1, nil, leaf[:]
		if d.shape.v2 {
			d.entry().LogIndex = 0
		}
		p.Checkpoint = d.foreignLog().Checkpoint(d.tb, tlog.Checkpoint{Origin: d.log.Origin, Size: 1, Root: leaf})
	}, ""},
	{"checkpoint signed by another", verify.CodeLog, nil, func(d *draft) {
		p := d.entry().Proof
		p.Checkpoint = d.foreignLog().Checkpoint(d.tb, tlog.Checkpoint{Origin: d.log.Origin, Size: uint64(p.TreeSize), Root: [32]byte(p.RootHash)})
	}, ""},
	{"checkpoint without signature", verify.CodeLog, nil, func(d *draft) {
		text, _, _ := strings.Cut(d.entry().Proof.Checkpoint, "\n\n")
		d.entry().Proof.Checkpoint = text + "\n\n"
	}, ""},
	{"checkpoint of a larger tree", verify.CodeLog, nil, func(d *draft) {
		p := d.entry().Proof
		p.Checkpoint = d.log.Checkpoint(d.tb, tlog.Checkpoint{Origin: d.log.Origin, Size: uint64(p.TreeSize) + 1, Root: [32]byte(p.RootHash)})
	}, "sigstore-go takes the size from the checkpoint alone, and some paths have the same length in both trees; only the log itself could sign this"},
	{"checkpoint of another root", verify.CodeLog, nil, func(d *draft) {
		p := d.entry().Proof
		p.Checkpoint = d.log.Checkpoint(d.tb, tlog.Checkpoint{Origin: d.log.Origin, Size: uint64(p.TreeSize), Root: [32]byte(d.flip(p.RootHash))})
	}, ""},
	{"checkpoint with another size in it", verify.CodeLog, nil, func(d *draft) {
		p := d.entry().Proof
		p.Checkpoint = strings.Replace(p.Checkpoint, "\n", "\n1", 1)
	}, ""},

	{"entry in another log", verify.CodeUntrustedLog, nil, func(d *draft) {
		body := d.body()
		d.log = freshLog(d.tb, d.foreignLog())
		d.evidence.Entries = nil
		d.enter(body)
	}, ""},
	{"log not trusted", verify.CodeUntrustedLog, nil, func(d *draft) { d.trusting(func(r *trust.Root) { r.Logs = d.cast.foreign.Root().Logs }) }, ""},
	{"no log trusted", verify.CodeUntrustedLog, nil, func(d *draft) { d.trusting(func(r *trust.Root) { r.Logs = nil }) }, ""},
	{"no entry", verify.CodeUntrustedLog, nil, func(d *draft) { d.evidence.Entries = nil }, ""},
	{"log trusted before only", verify.CodeUntrustedLog, keyless, func(d *draft) { d.trusting(func(r *trust.Root) { d.window(r).End = d.s.Clock.Now().Add(-d.some()) }) }, windowless},
	{"log trusted later only", verify.CodeUntrustedLog, keyless, func(d *draft) { d.trusting(func(r *trust.Root) { d.window(r).Start = d.s.Clock.Now().Add(d.some()) }) }, windowless},
}

// foreignLog is the log of the same kind that nobody trusts.
func (d *draft) foreignLog() *coretest.Log {
	if d.shape.v2 {
		return d.cast.foreign.V2
	}
	return d.cast.foreign.V1
}

// window is the one of the draft's log in a trust root.
func (d *draft) window(r *trust.Root) *trust.Window {
	for i := range r.Logs {
		if r.Logs[i].ID == d.log.ID {
			return &r.Logs[i].Window
		}
	}
	d.tb.Fatal("the log is not in the trust root")
	return nil
}

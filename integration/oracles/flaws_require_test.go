package oracles

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/verify"
)

// demand is what a verifier asks for beyond the usual. Evidence of a shape with a demand meets it.
type demand int

const (
	usual demand = iota
	twoLogs
	twoStamps
	twoSCTs
	twoWitnesses
	notOld
)

func demanding(what demand) func(*shape) { return func(s *shape) { s.demand = what } }

// reconcile makes the rest of a shape such that its evidence can meet the demand.
func (s *shape) reconcile() {
	switch s.demand {
	case twoLogs:
		s.algorithm, s.intoto, s.proofless = p256, false, false // what both logs take
	case twoStamps:
		s.timestamp = true
	case twoSCTs:
		if s.keyed {
			s.demand = usual
		}
	case twoWitnesses:
		s.proofless = false
	case notOld:
		s.timestamp = true
	}
}

// demands gives the verifier its demand.
func (d *draft) demands() {
	switch d.shape.demand {
	case twoLogs:
		d.ask.require.Logs = 2
	case twoStamps:
		d.ask.require.Timestamps = 2
	case twoSCTs:
		d.ask.require.SCTs = 2
		d.spec = append(d.spec, coretest.PromisedBy(d.s.CTLog, d.cast.secondCTLog))
	case twoWitnesses:
		d.ask.require.Quorum = 2
		for _, w := range d.cast.witnesses[:3] {
			d.ask.require.Witnesses = append(d.ask.require.Witnesses, w.Witness)
		}
	case notOld:
		d.ask.require.NotBefore = d.s.Clock.Now().Add(-d.some())
	}
}

// witness is one with its private key.
type witness struct {
	*tlog.Witness
	private ed25519.PrivateKey
}

// newWitnesses makes three that are known and three strangers.
func newWitnesses(tb testing.TB) []witness {
	tb.Helper()
	var all []witness
	for i := range 6 {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, witness{&tlog.Witness{Name: fmt.Sprintf("witness-%d.example", i), Key: public}, private})
	}
	return all
}

// line is the witness's cosignature on a checkpoint, as a line of the note.
func (w witness) line(text string, at time.Time) string {
	signature := ed25519.Sign(w.private, tlog.CosignedText([]byte(text), uint64(at.Unix())))
	id := sha256.Sum256(append([]byte(w.Name+"\n\x04"), w.Key...))
	raw := append(id[:4:4], binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))...)
	return "— " + w.Name + " " + base64.StdEncoding.EncodeToString(append(raw, signature...)) + "\n"
}

// cosign has witnesses cosign the checkpoint of an entry, in the place of those that did.
func (d *draft) cosign(number int, witnesses ...int) {
	p := d.evidence.Entries[number].Proof
	text, rest, _ := strings.Cut(p.Checkpoint, "\n\n")
	own, _, _ := strings.Cut(rest, "\n") // the log's own line is the first
	p.Checkpoint = text + "\n\n" + own + "\n"
	for _, n := range witnesses {
		p.Checkpoint += d.cast.witnesses[n].line(text+"\n", d.s.Clock.Now())
	}
}

const noWitnesses = "sigstore-go knows no witnesses"

// cosigned is a flaw of who cosigned.
func cosigned(witnesses ...int) func(*draft) {
	return func(d *draft) {
		for n := range d.evidence.Entries {
			d.cosign(n, witnesses...)
		}
	}
}

var requirementFlaws = []flaw{
	{"one log where two are wanted", verify.CodeTooFewLogs, demanding(twoLogs), func(d *draft) {
		n := d.random.IntN(2)
		d.evidence.Entries = d.evidence.Entries[n : n+1]
		if d.evidence.Entries[0].SET == nil && !d.shape.timestamp && !d.shape.keyed {
			d.shape.timestamp = true // the time was the other log's
			d.stamp()
		}
	}, ""},
	{"one log twice", verify.CodeTooFewLogs, demanding(twoLogs), func(d *draft) {
		d.evidence.Entries = d.evidence.Entries[:1]
		d.enter(d.body())
	}, ""},
	{"second log not trusted", verify.CodeTooFewLogs, demanding(twoLogs), func(d *draft) {
		d.evidence.Entries = d.evidence.Entries[:1]
		body := d.body()
		d.log = freshLog(d.tb, d.foreignLog())
		d.enter(body)
	}, ""},
	{"one authority where two are wanted", verify.CodeTooFewStamps, demanding(twoStamps), func(d *draft) {
		n := d.random.IntN(2)
		d.evidence.Timestamps = d.evidence.Timestamps[n : n+1]
	}, ""},
	{"one authority twice", verify.CodeTooFewStamps, demanding(twoStamps), func(d *draft) {
		d.evidence.Timestamps[1] = d.s.TSA.Stamp(d.tb, d.evidence.Signature(), d.s.Clock.Now().Add(time.Second))
	}, ""},
	{"one certificate log where two are wanted", verify.CodeTooFewSCTs, both(demanding(twoSCTs), keyless), func(d *draft) {
		d.recertify(coretest.PromisedBy([]*coretest.CTLog{d.s.CTLog, d.cast.secondCTLog}[d.random.IntN(2)]))
	}, ""},
	{"one certificate log twice", verify.CodeTooFewSCTs, both(demanding(twoSCTs), keyless), func(d *draft) {
		d.recertify(coretest.PromisedBy(d.s.CTLog, d.s.CTLog))
	}, ""},
	{"second certificate log not trusted", verify.CodeTooFewSCTs, both(demanding(twoSCTs), keyless), func(d *draft) {
		d.recertify(coretest.PromisedBy(d.s.CTLog, d.cast.foreign.CTLog))
	}, ""},
	{"no witness", verify.CodeWitnesses, demanding(twoWitnesses), cosigned(), noWitnesses},
	{"one witness of two", verify.CodeWitnesses, demanding(twoWitnesses), cosigned(2), noWitnesses},
	{"one witness twice", verify.CodeWitnesses, demanding(twoWitnesses), cosigned(1, 1), noWitnesses},
	{"one witness and strangers", verify.CodeWitnesses, demanding(twoWitnesses), cosigned(3, 0, 4, 5), noWitnesses},
	{"promise where witnesses are wanted", verify.CodeUnwitnessable, both(demanding(twoWitnesses), promised), func(d *draft) { d.shape.proofless = true }, noWitnesses},
	{"too old by the timestamp", verify.CodeTooOld, demanding(notOld), func(d *draft) { d.ask.require.NotBefore = d.s.Clock.Now().Add(d.some()) }, tooOld},
	{"too old by the promise alone", verify.CodeTooOld, both(demanding(notOld), promised), func(d *draft) {
		d.evidence.Timestamps = [][]byte{d.s.TSA.Stamp(d.tb, d.evidence.Signature(), d.s.Clock.Now().Add(time.Minute))}
		d.ask.require.NotBefore = d.s.Clock.Now().Add(time.Second)
	}, tooOld},
}

const tooOld = "sigstore-go knows no oldest acceptable time"

package verify_test

import (
	"crypto/ecdsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// require asks as world.input does, for more.
func (w *world) require(tb testing.TB, e *bundle.Evidence, r verify.Requirements) verify.Input {
	tb.Helper()
	in := w.input(tb, e)
	in.Require = r
	return in
}

// TestA055_LIB30_LIB43_Logs counts logs by their keys: not entries, and not
// names or IDs.
func TestA055_LIB43_Logs(t *testing.T) {
	w := newWorld(t)
	two := verify.Requirements{Logs: 2}
	e := w.sign(t, coretest.SignOptions{})
	again := w.V1.Add(t, e.Entries[0].Body, w.Clock.Now())
	requireCode(t, "one entry", w.require(t, e, two), verify.CodeTooFewLogs)

	twice := clone(e)
	twice.Entries = append(twice.Entries, again)
	requireCode(t, "one log twice, one wanted", w.require(t, twice, verify.Requirements{Logs: 1}), "")
	requireCode(t, "one log twice", w.require(t, twice, two), verify.CodeTooFewLogs)

	// The same key under another ID and name.
	alias := clone(e)
	alias.Entries = append(alias.Entries, again)
	alias.Entries[1].LogID[0] ^= 1
	alias.Entries[1].SET = w.V1.Promise(t, alias.Entries[1])
	in := w.require(t, alias, two)
	root := *w.root
	second := root.Logs[0]
	second.ID, second.BaseURL = alias.Entries[1].LogID, "https://another.example"
	root.Logs = append([]trust.Log{second}, root.Logs...)
	in.Root = &root
	requireCode(t, "one key under two IDs", in, verify.CodeTooFewLogs)

	both := clone(e)
	key := certificateKey(t, e)
	both.Entries = append(both.Entries, w.V2.Add(t, coretest.EntryBody(t, e, digest, key, true), w.Clock.Now()))
	requireCode(t, "two logs", w.require(t, both, two), "")
	requireCode(t, "two logs, three wanted", w.require(t, both, verify.Requirements{Logs: 3}), verify.CodeTooFewLogs)
}

// TestA055_LIB30_Timestamps counts authorities by their keys.
func TestA055_LIB30_LIB43_Timestamps(t *testing.T) {
	w := newWorld(t)
	second := coretest.NewTSA(t, w.Clock.Now(), nil)
	root := w.Root()
	root.TimestampAuthorities = append(root.TimestampAuthorities, trust.TimestampAuthority{
		URI: "https://second.example", Authority: second.Authority(), Window: root.TimestampAuthorities[0].Window,
	}, root.TimestampAuthorities[0])
	root.TimestampAuthorities[2].URI = "https://alias.example"
	e := w.sign(t, coretest.SignOptions{})
	ask := func(what string, n int, want verify.Code, stamps ...[]byte) {
		t.Helper()
		c := clone(e)
		c.Timestamps = stamps
		in := w.require(t, c, verify.Requirements{Timestamps: n})
		in.Root = root
		requireCode(t, what, in, want)
	}
	stamp := func(tsa *coretest.TSA) []byte { return tsa.Stamp(t, e.Signature(), w.Clock.Now()) }
	ask("none wanted, none there", 0, "")
	ask("one wanted, none there", 1, verify.CodeTooFewStamps)
	ask("one wanted, one there", 1, "", stamp(w.TSA))
	ask("one wanted, one bad", 1, verify.CodeTimestamp, []byte("garbage"))
	ask("two wanted, one there", 2, verify.CodeTooFewStamps, stamp(w.TSA))
	ask("two wanted, one good and one bad", 2, verify.CodeTimestamp, stamp(w.TSA), []byte("garbage"))
	var many [][]byte
	for range 32 {
		many = append(many, stamp(w.TSA))
	}
	ask("two wanted, 32 of one authority", 2, verify.CodeTooFewStamps, many...)
	ask("two wanted, two there", 2, "", stamp(w.TSA), stamp(second))
}

// TestA055_SCTs counts certificate logs by their keys.
func TestA055_LIB43_SCTs(t *testing.T) {
	w := newWorld(t)
	second := coretest.NewCTLog(t)
	root := w.Root()
	log := root.CTLogs[0]
	log.ID, log.Key = second.ID, second.Key.Public()
	root.CTLogs = append(root.CTLogs, log)
	ask := func(what string, n int, want verify.Code, logs ...*coretest.CTLog) {
		t.Helper()
		in := w.require(t, w.sign(t, coretest.SignOptions{Certificate: []func(*spec){coretest.PromisedBy(logs...)}}), verify.Requirements{SCTs: n})
		in.Root = root
		requireCode(t, what, in, want)
	}
	ask("one", 1, "", w.CTLog)
	ask("one, two wanted", 2, verify.CodeTooFewSCTs, w.CTLog)
	ask("one log twice", 2, verify.CodeTooFewSCTs, w.CTLog, w.CTLog)
	ask("two logs", 2, "", w.CTLog, second)
	ask("an unknown log", 2, verify.CodeTooFewSCTs, w.CTLog, coretest.NewCTLog(t))
	ask("none", 2, verify.CodeSCT)
}

// TestA064_Age refuses what was signed too long ago.
func TestA064_Age(t *testing.T) {
	w := newWorld(t)
	at := w.Clock.Now()
	for name, options := range forms(w) {
		e := w.sign(t, options)
		requireCode(t, name+", signed then", w.require(t, e, verify.Requirements{NotBefore: at}), "")
		requireCode(t, name+", signed a second before", w.require(t, e, verify.Requirements{NotBefore: at.Add(time.Second)}), verify.CodeTooOld)
	}
	// Every time counts, not the latest.
	w.Clock.Advance(time.Minute)
	e := w.sign(t, coretest.SignOptions{})
	e.Timestamps = [][]byte{w.TSA.Stamp(t, e.Signature(), at.Add(2*time.Minute))}
	requireCode(t, "all later", w.require(t, e, verify.Requirements{NotBefore: at.Add(time.Minute)}), "")
	requireCode(t, "only the timestamp is later", w.require(t, e, verify.Requirements{NotBefore: at.Add(90 * time.Second)}), verify.CodeTooOld)

	key := coretest.NewKey(t)
	keyed := w.require(t, w.sign(t, coretest.SignOptions{Key: key, WithoutLog: true, WithoutTimestamp: true}), verify.Requirements{})
	keyed.Signer, keyed.InsecureIgnoreLog = verify.Keyed(verify.Key{Name: "k", Public: key.Public()}), true
	requireCode(t, "a key without any time", keyed, "")
	keyed.Require.NotBefore = at
	requireCode(t, "a key without any time, a limit", keyed, verify.CodeNoTime)
}

// TestLIB17_LIB43_Witnesses counts those who cosigned by their keys.
func TestLIB16_LIB17_LIB43_Witnesses(t *testing.T) {
	w := newWorld(t)
	a, b, c := coretest.NewWitness(t, "a.example"), coretest.NewWitness(t, "b.example"), coretest.NewWitness(t, "c.example")
	alias := &coretest.Witness{Key: a.Key, Name: "alias.example"}
	known := []*tlog.Witness{a.Witness(), b.Witness(), c.Witness(), alias.Witness()}
	unknown := coretest.NewWitness(t, "a.example")
	for _, log := range []*coretest.Log{w.V1, w.V2} {
		plain := w.sign(t, coretest.SignOptions{Log: log})
		ask := func(what string, n int, want verify.Code, cosigners ...*coretest.Witness) {
			t.Helper()
			e := clone(plain)
			for _, x := range cosigners {
				p := e.Entries[0].Proof
				p.Checkpoint = x.Cosign(t, p.Checkpoint, w.Clock.Now())
			}
			requireCode(t, log.Name+": "+what, w.require(t, e, verify.Requirements{Witnesses: known, Quorum: n}), want)
		}
		ask("none wanted", 0, "")
		ask("one wanted", 1, verify.CodeWitnesses)
		ask("one of one", 1, "", a)
		ask("one of two", 2, verify.CodeWitnesses, a)
		ask("two of two", 2, "", a, b)
		ask("two of three", 2, "", a, b, c)
		ask("the same twice", 2, verify.CodeWitnesses, a, a)
		ask("one key under two names", 2, verify.CodeWitnesses, a, alias)
		ask("an unknown key under a known name", 1, verify.CodeWitnesses, unknown)
		ask("unknown ones beside", 2, "", unknown, a, unknown, b)
	}
	good := w.sign(t, coretest.SignOptions{Log: w.V2})
	p := good.Entries[0].Proof
	p.Checkpoint = a.Cosign(t, p.Checkpoint, w.Clock.Now())
	other := w.sign(t, coretest.SignOptions{Log: w.V2})
	quorum := verify.Requirements{Witnesses: known, Quorum: 1}
	grafted := clone(other)
	_, line, _ := strings.Cut(p.Checkpoint, "— a.example")
	grafted.Entries[0].Proof.Checkpoint += "— a.example" + line
	requireCode(t, "a cosignature of another checkpoint", w.require(t, grafted, quorum), verify.CodeLog)
	requireCode(t, "and nobody asks", w.input(t, grafted), "")

	promise := w.sign(t, coretest.SignOptions{})
	promise.Entries[0].Proof = nil
	requireCode(t, "a promise alone", w.require(t, promise, quorum), verify.CodeUnwitnessable)
	legacy := w.sign(t, coretest.SignOptions{Content: coretest.SimpleSigning})
	legacy.Entries[0].Proof = nil
	requireCode(t, "a legacy signature", w.require(t, legacy, quorum), verify.CodeUnwitnessable)
	legacy.Entries = nil
	requireCode(t, "no entry", w.require(t, legacy, quorum), verify.CodeUntrustedLog)

	key := coretest.NewKey(t)
	in := w.require(t, w.sign(t, coretest.SignOptions{Key: key, WithoutLog: true}), verify.Requirements{})
	in.Signer, in.InsecureIgnoreLog = verify.Keyed(verify.Key{Name: "k", Public: key.Public()}), true
	requireCode(t, "a key that needs no log", in, "")
	in.Require = quorum
	requireCode(t, "a key that needs no log, but witnesses", in, verify.CodeUntrustedLog)
}

// TestInsecureNoLog lets timestamps take a log's place, for certificates.
func TestInsecureNoLog(t *testing.T) {
	w := newWorld(t)
	q := verify.Requirements{Timestamps: 1, InsecureNoLog: true}
	e := w.sign(t, coretest.SignOptions{WithoutLog: true})
	requireCode(t, "without a log", w.require(t, e, q), "")
	requireCode(t, "a log is wanted", w.require(t, e, verify.Requirements{Timestamps: 1}), verify.CodeUntrustedLog)
	requireCode(t, "with a log", w.require(t, w.sign(t, coretest.SignOptions{}), q), "")
	bad := w.sign(t, coretest.SignOptions{})
	bad.Entries[0].SET[9] ^= 1
	requireCode(t, "with a bad entry", w.require(t, bad, q), verify.CodeLog)
	requireCode(t, "without a timestamp", w.require(t, w.sign(t, coretest.SignOptions{WithoutTimestamp: true}), q), verify.CodeTooFewStamps)
}

// TestOtherRoots lets logs and timestamp authorities come from roots of their own.
func TestOtherRoots(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{Log: w.V2})
	bare := *w.root
	bare.Logs, bare.TimestampAuthorities = nil, nil
	in := w.input(t, e)
	in.Root, in.LogRoot, in.TimestampRoot = &bare, w.root, w.root
	requireCode(t, "all three", in, "")
	in.LogRoot = nil
	requireCode(t, "no root of logs", in, verify.CodeUntrustedLog)
	in.LogRoot, in.TimestampRoot = w.root, nil
	requireCode(t, "no root of timestamps", in, verify.CodeTimestamp)
	in.Root, in.LogRoot, in.TimestampRoot = w.root, &bare, nil
	requireCode(t, "a root of logs without any", in, verify.CodeUntrustedLog)
}

// TestA035_Contradictions: the question itself is refused.
func TestA035_Contradictions(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{})
	witness := coretest.NewWitness(t, "a.example")
	alias := &coretest.Witness{Key: witness.Key, Name: "b.example"}
	key := verify.Keyed(verify.Key{Name: "k", Public: coretest.NewKey(t).Public()})
	for name, change := range map[string]func(*verify.Input){
		"negative logs":       func(in *verify.Input) { in.Require.Logs = -1 },
		"negative timestamps": func(in *verify.Input) { in.Require.Timestamps = -1 },
		"negative SCTs":       func(in *verify.Input) { in.Require.SCTs = -1 },
		"negative quorum":     func(in *verify.Input) { in.Require.Quorum = -1 },
		"a quorum of nobody":  func(in *verify.Input) { in.Require.Quorum = 1 },
		"a quorum that no keys can meet": func(in *verify.Input) {
			in.Require.Quorum, in.Require.Witnesses = 2, []*tlog.Witness{witness.Witness(), alias.Witness()}
		},
		"no log and no timestamps": func(in *verify.Input) { in.Require.InsecureNoLog = true },
		"no log for keys": func(in *verify.Input) {
			in.Require, in.Signer = verify.Requirements{InsecureNoLog: true, Timestamps: 1}, key
		},
		"no log and two logs":    func(in *verify.Input) { in.Require = verify.Requirements{InsecureNoLog: true, Timestamps: 1, Logs: 2} },
		"logs for keys, ignored": func(in *verify.Input) { in.Require.Logs, in.InsecureIgnoreLog, in.Signer = 1, true, key },
		"SCTs, ignored":          func(in *verify.Input) { in.Require.SCTs, in.InsecureIgnoreSCT = 1, true },
		"timestamps of no root": func(in *verify.Input) {
			in.Require.Timestamps, in.InsecureIgnoreLog, in.Signer, in.Root = 1, true, key, nil
		},
		"a key's log of no root": func(in *verify.Input) { in.Signer, in.Root = key, nil },
		"witnesses for a key, but no root": func(in *verify.Input) {
			in.Require.Witnesses, in.Require.Quorum, in.InsecureIgnoreLog, in.Signer, in.Root = []*tlog.Witness{witness.Witness()}, 1, true, key, nil
		},
		"a certificate's authority, no root": func(in *verify.Input) { in.LogRoot, in.Root = w.root, nil },
	} {
		in := w.input(t, e)
		requireCode(t, "good twin", in, "")
		change(&in)
		if _, err := verify.Verify(in); !errors.Is(err, verify.ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestResult gives what predicates and revocations need.
func TestResult(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{PredicateType: "https://spdx.dev/Document", Predicate: `{"x":1}`})
	in := w.input(t, e)
	in.PredicateType = "https://spdx.dev/Document"
	got := requireAccepted(t, "an attestation", in)
	if string(got.Statement) != string(e.Envelope.Payload) {
		t.Errorf("statement %q", got.Statement)
	}
	if key := certificateKey(t, e).(*ecdsa.PublicKey); !key.Equal(got.Key) {
		t.Error("another key")
	}
	got = requireAccepted(t, "a message signature", w.input(t, w.sign(t, coretest.SignOptions{Content: coretest.MessageSignature})))
	if got.Statement != nil || got.Key == nil {
		t.Errorf("%+v", got)
	}
}

package verify_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// TestA001_A007_A008_EntryOfAnotherSignature gives valid evidence a log entry
// that the log really made, for something else.
func TestA001_A007_A008_EntryOfAnotherSignature(t *testing.T) {
	w := newWorld(t)
	for name, options := range forms(w) {
		e := w.sign(t, options)
		requireAccepted(t, name, w.input(t, e))
		log := options.Log
		if log == nil {
			log = w.V1
		}
		v2 := log == w.V2
		aliceAgain := w.sign(t, options) // another key, another signature, the same image
		otherImage := w.SignDigest(t, otherDigest, options)
		options.Identity = mallory
		byMallory := w.sign(t, options)
		rebuilt := func(change func(c *bundle.Evidence), d [32]byte, key crypto.PublicKey) bundle.Entry {
			c := clone(e)
			change(c)
			return log.Add(t, coretest.EntryBody(t, c, d, key, v2), w.Clock.Now())
		}
		key := certificateKey(t, e)
		for what, wrong := range map[string]bundle.Entry{
			"an entry of another image":     otherImage.Entries[0],
			"an entry of another key":       aliceAgain.Entries[0],
			"an entry of another signer":    byMallory.Entries[0],
			"this image, another signature": rebuilt(func(c *bundle.Evidence) { signatureOf(c)[5] ^= 1 }, digest, key),
			"this signature, another image": rebuilt(func(c *bundle.Evidence) {
				switch {
				case c.Envelope != nil:
					c.Envelope.Payload = coretest.Statement(otherDigest, "", "")
				case c.Payload != nil:
					c.Payload.Text = append(c.Payload.Text, ' ')
				}
			}, otherDigest, key),
			"this signature, another certificate": rebuilt(func(c *bundle.Evidence) { c.Certificates = aliceAgain.Certificates }, digest, certificateKey(t, aliceAgain)),
			"this signature, its bare key":        rebuilt(func(c *bundle.Evidence) { c.Certificates = nil }, digest, key),
		} {
			bad := clone(e)
			bad.Entries = []bundle.Entry{wrong}
			requireCode(t, name+": "+what, w.input(t, bad), verify.CodeLogEntry)
			// A005: neither order of a good and a bad entry is an answer.
			bad.Entries = []bundle.Entry{wrong, e.Entries[0]}
			requireCode(t, name+": bad entry first: "+what, w.input(t, bad), verify.CodeLogEntry)
			bad.Entries = []bundle.Entry{e.Entries[0], wrong}
			requireCode(t, name+": bad entry last: "+what, w.input(t, bad), verify.CodeLogEntry)
		}
		// The promise and the proof of another entry, around the right body.
		for what, change := range map[string]func(*bundle.Entry){
			"another entry's promise and proof": func(x *bundle.Entry) {
				body := x.Body
				*x = otherImage.Entries[0]
				x.Body = body
			},
			"another entry's proof":   func(x *bundle.Entry) { x.Proof = otherImage.Entries[0].Proof },
			"another entry's promise": func(x *bundle.Entry) { x.SET = slices.Concat(otherImage.Entries[0].SET, []byte{}) },
		} {
			if v2 && what == "another entry's promise" {
				continue // there is none
			}
			bad := clone(e)
			change(&bad.Entries[0])
			requireCode(t, name+": "+what, w.input(t, bad), verify.CodeLog)
		}
	}
}

func signatureOf(e *bundle.Evidence) []byte { return e.Signature() }

func certificateKey(tb testing.TB, e *bundle.Evidence) crypto.PublicKey {
	tb.Helper()
	return parseCertificate(tb, e.Certificates[0]).PublicKey
}

// TestA004_A009_A016_A017_LIB12_LIB13_Log changes what the log made, one thing
// at a time.
func TestA004_A009_A016_A017_LIB12_LIB13_LIB14_LIB16_Log(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	other.V1.Name, other.V1.Origin = w.V1.Name, w.V1.Origin
	other.V2.Name, other.V2.Origin = w.V2.Name, w.V2.Origin
	selfMade := func(x *bundle.Entry, log *coretest.Log, shard int64) { // a log of one's own under the true one's name
		p := x.Proof
		body := x.Body
		id, set, at := x.LogID, x.SET, x.IntegratedTime
		*x = log.Add(t, body, coretest.Start)
		x.LogID, x.SET, x.IntegratedTime, x.LogIndex = id, set, at, p.Index+shard
	}
	resign := func(log *coretest.Log, change func(*tlog.Checkpoint)) func(*bundle.Entry) {
		return func(x *bundle.Entry) {
			c := tlog.Checkpoint{Origin: log.Origin, Size: uint64(x.Proof.TreeSize), Root: [32]byte(x.Proof.RootHash)}
			change(&c)
			x.Proof.Checkpoint = log.Checkpoint(t, c)
		}
	}
	for _, tt := range []struct {
		name   string
		v1, v2 verify.Code // for an entry in either log; "" means accepted, "-" that it does not apply
		change func(x *bundle.Entry, log *coretest.Log)
	}{
		{"unchanged", "", "", func(*bundle.Entry, *coretest.Log) {}},
		{"neither promise nor proof", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.SET, x.Proof = nil, nil }},
		{"promise alone", "", "-", func(x *bundle.Entry, _ *coretest.Log) { x.Proof = nil }},
		{"proof alone", "", "-", func(x *bundle.Entry, _ *coretest.Log) { x.SET = nil }},
		{"a promise of garbage", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.SET = []byte("garbage") }},
		{"an empty promise", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.SET = []byte{} }},
		{"a promise by another log", verify.CodeLog, "-", func(x *bundle.Entry, _ *coretest.Log) { x.SET = other.V1.Promise(t, *x) }},
		{"a promise of another time", verify.CodeLog, "-", func(x *bundle.Entry, _ *coretest.Log) { x.IntegratedTime++ }},
		{"a promise of another index", verify.CodeLog, "-", func(x *bundle.Entry, _ *coretest.Log) { x.LogIndex++ }},
		{"a promise in a v2 log", "-", verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.SET = w.V1.Promise(t, *x) }},
		{"another log's ID", verify.CodeUntrustedLog, verify.CodeUntrustedLog, func(x *bundle.Entry, _ *coretest.Log) { x.LogID[0] ^= 1 }},
		{"the ID of this Sigstore's other log", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) {
			if x.LogID = w.V1.ID; log == w.V1 {
				x.LogID = w.V2.ID
			}
		}},
		{"the certificate log's ID", verify.CodeUntrustedLog, verify.CodeUntrustedLog, func(x *bundle.Entry, _ *coretest.Log) { x.LogID = w.CTLog.ID }},

		{"no checkpoint", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Checkpoint = "" }},
		{"an unsigned checkpoint", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) {
			x.Proof.Checkpoint, _, _ = strings.Cut(x.Proof.Checkpoint, "—")
		}},
		{"checkpoint of another log", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) { selfMade(x, otherLog(other, log, w), log.Shard) }},
		{"checkpoint by a witness only", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) {
			text, _, _ := strings.Cut(x.Proof.Checkpoint, "\n\n")
			_, witnessed, _ := strings.Cut(other.V2.Checkpoint(t, tlog.Checkpoint{Origin: log.Origin, Size: uint64(x.Proof.TreeSize), Root: [32]byte(x.Proof.RootHash)}), "\n\n")
			x.Proof.Checkpoint = text + "\n\n" + witnessed
		}},
		{"cosigned by 16 nobody knows", "", "", func(x *bundle.Entry, _ *coretest.Log) {
			for range 16 {
				x.Proof.Checkpoint += "— witness.example AAAAAAAAAAAAAAAA\n"
			}
		}},
		{"checkpoint of another root", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) {
			resign(log, func(c *tlog.Checkpoint) { c.Root[0] ^= 1 })(x)
		}},
		{"checkpoint of another size", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) { resign(log, func(c *tlog.Checkpoint) { c.Size++ })(x) }},
		{"a tree smaller than the index", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) {
			x.Proof.TreeSize = x.Proof.Index
			resign(log, func(c *tlog.Checkpoint) { c.Size = uint64(x.Proof.TreeSize) })(x)
		}},
		{"another root beside the checkpoint", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.RootHash[0] ^= 1 }},
		{"no root beside the checkpoint", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.RootHash = nil }},
		{"another size beside the checkpoint", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.TreeSize++ }},
		{"proof for the next index", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Index++ }},
		{"proof for the index before", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Index-- }},
		{"proof for the global index", verify.CodeLog, "-", func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Index = x.LogIndex }},
		{"negative proof index", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Index = -1 }},
		{"proof without a hash", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Hashes = x.Proof.Hashes[1:] }},
		{"proof with a hash more", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Hashes = append(x.Proof.Hashes, make([]byte, 32)) }},
		{"proof with a short hash", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.Proof.Hashes[0] = x.Proof.Hashes[0][:31] }},
		{"proof with 100 hashes", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) {
			x.Proof.Hashes = slices.Repeat([][]byte{make([]byte, 32)}, 100)
		}},
		{"another index beside the proof", "-", verify.CodeLog, func(x *bundle.Entry, _ *coretest.Log) { x.LogIndex++ }},
		{"another origin", verify.CodeLog, verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) {
			resign(log, func(c *tlog.Checkpoint) { c.Origin = "evil.example" })(x)
		}},
		{"v2 origin in a v1 entry", verify.CodeLog, "-", func(x *bundle.Entry, log *coretest.Log) {
			resign(log, func(c *tlog.Checkpoint) { c.Origin = log.Name })(x)
		}},
		{"v1 origin in a v2 entry", "-", verify.CodeLog, func(x *bundle.Entry, log *coretest.Log) {
			resign(log, func(c *tlog.Checkpoint) { c.Origin = log.Name + " - 123" })(x)
		}},
	} {
		for _, log := range []*coretest.Log{w.V1, w.V2} {
			want := tt.v1
			if log == w.V2 {
				want = tt.v2
			}
			if want == "-" {
				continue
			}
			e := w.sign(t, coretest.SignOptions{Log: log})
			tt.change(&e.Entries[0], log)
			requireCode(t, log.Name+": "+tt.name, w.input(t, e), want)
		}
	}
}

// otherLog is the log of another Sigstore that plays the part of the given one.
func otherLog(other *world, log *coretest.Log, w *world) *coretest.Log {
	if log == w.V1 {
		return other.V1
	}
	return other.V2
}

// TestA015_Shards: the index over all shards differs from that in the tree.
func TestA015_Shards(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{})
	x := e.Entries[0]
	if x.LogIndex == x.Proof.Index {
		t.Fatal("the log has no shards")
	}
	if got := requireAccepted(t, "sharded log", w.input(t, e)).Entries[0].Index; got != x.LogIndex {
		t.Errorf("index is %d, want that over all shards, %d", got, x.LogIndex)
	}
	// Nothing covers the index over all shards but the promise.
	e.Entries[0].SET, e.Entries[0].LogIndex = nil, 4711
	if got := requireAccepted(t, "proof alone", w.input(t, e)).Entries[0].Index; got != x.Proof.Index {
		t.Errorf("index is %d, want the proven one, %d", got, x.Proof.Index)
	}
}

// TestA012_KindsAndVersions claims kinds and versions that the body does not
// have.
func TestA012_KindsAndVersions(t *testing.T) {
	w := newWorld(t)
	for name, options := range forms(w) {
		good := w.sign(t, options)
		requireAccepted(t, name, w.input(t, good))
		for _, kind := range []string{"hashedrekord", "dsse", "intoto", "rekord", "helm", "", "HashedRekord", "hashedrekord\n"} {
			for _, version := range []string{"0.0.1", "0.0.2", "0.0.3", "", "1", "0.0.1 "} {
				if kind == good.Entries[0].Kind && version == good.Entries[0].Version {
					continue
				}
				e := clone(good)
				e.Entries[0].Kind, e.Entries[0].Version = kind, version
				if got := codeOf(t, w.input(t, e)); got != verify.CodeUnsupported && got != verify.CodeLogEntry {
					t.Errorf("%s as %q %q: code %q", name, kind, version, got)
				}
			}
		}
	}
	// A body of one face in the other face's log.
	for _, options := range []coretest.SignOptions{{Log: w.V1}, {Log: w.V2}} {
		e := w.sign(t, options)
		log, v2 := w.V2, false
		if options.Log == w.V2 {
			log, v2 = w.V1, true
		}
		e.Entries = []bundle.Entry{log.Add(t, coretest.EntryBody(t, e, digest, certificateKey(t, e), v2), coretest.Start)}
		requireCode(t, "body of the other face in "+log.Name, w.input(t, e), verify.CodeLog)
	}
}

// TestA013_Body: the body that came with the evidence decides nothing,
// and must still be the one that was logged.
func TestA013_Body(t *testing.T) {
	w := newWorld(t)
	for name, options := range forms(w) {
		good := w.sign(t, options)
		body := good.Entries[0].Body
		for what, variant := range map[string][]byte{
			"white space":   bytes.Replace(body, []byte(`":"`), []byte(`": "`), 1),
			"at the end":    append(slices.Clone(body), '\n'),
			"duplicate key": bytes.Replace(body, []byte("{"), []byte(`{"kind":"x",`), 1),
			"unknown key":   bytes.Replace(body, []byte("{"), []byte(`{"a":1,`), 1),
			"escaped":       bytes.Replace(body, []byte(`"kind"`), []byte(`"\u006bind"`), 1),
			"nothing":       nil,
			"null":          []byte("null"),
			"array":         []byte("[]"),
			"garbage":       []byte("garbage"),
			"other order":   append(append([]byte("{"), body[bytes.Index(body, []byte(`"kind"`)):len(body)-1]...), `,"apiVersion":"0.0.1"}`...),
		} {
			e := clone(good)
			e.Entries[0].Body = variant
			requireCode(t, name+": "+what, w.input(t, e), verify.CodeLogEntry)
			// Also if the log itself had it, and proves and promises it.
			if what == "nothing" || what == "null" || what == "array" || what == "garbage" {
				continue
			}
			log := options.Log
			if log == nil {
				log = w.V1
			}
			e.Entries = []bundle.Entry{log.Add(t, variant, coretest.Start)}
			e.Entries[0].Kind, e.Entries[0].Version = good.Entries[0].Kind, good.Entries[0].Version
			requireCode(t, name+": logged with "+what, w.input(t, e), verify.CodeLogEntry)
			// And if the evidence then shows the right one.
			e.Entries[0].Body = body
			requireCode(t, name+": logged with another body, "+what, w.input(t, e), verify.CodeLog)
		}
	}
}

// TestA012_Intoto is the kind of entry that clients made for envelopes until 2023.
func TestA012_Intoto(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{WithoutLog: true})
	payload := sha256.Sum256(e.Envelope.Payload)
	make := func(pem []byte, keyID string, sig []byte, payload [32]byte) bundle.Entry {
		t.Helper()
		body, err := entry.IntotoV002(sha256.Sum256([]byte("the log's own")), payload, e.Envelope.PayloadType, keyID, sig, pem)
		if err != nil {
			t.Fatal(err)
		}
		return w.V1.Add(t, body, coretest.Start)
	}
	pem := entry.CertificatePEM(e.Certificates[0])
	otherPEM := entry.CertificatePEM(w.sign(t, coretest.SignOptions{}).Certificates[0])
	for _, tt := range []struct {
		name  string
		entry bundle.Entry
		want  verify.Code
	}{
		{"good", make(pem, "", e.Envelope.Signature, payload), ""},
		{"with a key ID", make(pem, "SHA256:x", e.Envelope.Signature, payload), ""},
		{"PEM without its last line break", make(bytes.TrimSpace(pem), "", e.Envelope.Signature, payload), ""},
		{"another certificate", make(otherPEM, "", e.Envelope.Signature, payload), verify.CodeLogEntry},
		{"two certificates", make(append(slices.Clone(pem), otherPEM...), "", e.Envelope.Signature, payload), verify.CodeLogEntry},
		{"no certificate", make(nil, "", e.Envelope.Signature, payload), verify.CodeLogEntry},
		{"another signature", make(pem, "", []byte("other"), payload), verify.CodeLogEntry},
		{"another payload", make(pem, "", e.Envelope.Signature, sha256.Sum256(nil)), verify.CodeLogEntry},
	} {
		c := clone(e)
		c.Entries = []bundle.Entry{tt.entry}
		requireCode(t, tt.name, w.input(t, c), tt.want)
	}
}

// TestA055_A020_LIB43_ManyEntries: entries in logs that nobody knows do not count,
// and an entry in a second known log is one more thing to verify.
func TestA055_A020_LIB43_ManyEntries(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	e := w.sign(t, coretest.SignOptions{})
	v1Body, v2Body := e.Entries[0].Body, coretest.EntryBody(t, e, digest, certificateKey(t, e), true)
	unknown, second := other.V1.Add(t, v1Body, coretest.Start), w.V2.Add(t, v2Body, coretest.Start)
	broken := unknown
	broken.SET, broken.Body = []byte("garbage"), []byte("garbage")
	for _, tt := range []struct {
		name    string
		entries []bundle.Entry
		want    verify.Code
		logs    int
	}{
		{"two logs", []bundle.Entry{e.Entries[0], second}, "", 2},
		{"a known and an unknown log", []bundle.Entry{unknown, e.Entries[0]}, "", 1},
		{"a known log and garbage of an unknown one", []bundle.Entry{e.Entries[0], broken}, "", 1},
		{"an unknown log", []bundle.Entry{unknown}, verify.CodeUntrustedLog, 0},
		{"32 entries of unknown logs", slices.Repeat([]bundle.Entry{unknown}, 32), verify.CodeUntrustedLog, 0},
		{"no entry", nil, verify.CodeUntrustedLog, 0},
	} {
		c := clone(e)
		c.Entries = tt.entries
		requireCode(t, tt.name, w.input(t, c), tt.want)
		if tt.want == "" {
			if got := len(requireAccepted(t, tt.name, w.input(t, c)).Entries); got != tt.logs {
				t.Errorf("%s: %d entries count, want %d", tt.name, got, tt.logs)
			}
		}
	}
}

// TestA027_LogWindow: a log is relied on within its window only, whatever says when
// the entry was made.
func TestA027_LogWindow(t *testing.T) {
	w := newWorld(t)
	for name, e := range map[string]*bundle.Evidence{
		"promise":          w.sign(t, coretest.SignOptions{WithoutTimestamp: true}),
		"v1 without it":    withoutPromise(w.sign(t, coretest.SignOptions{})),
		"v2 and timestamp": w.sign(t, coretest.SignOptions{Log: w.V2}),
	} {
		for _, tt := range []struct {
			start, end time.Duration
			want       verify.Code
		}{
			{-time.Hour, time.Hour, ""}, {0, time.Hour, ""}, {-time.Hour, 0, ""},
			{time.Second, time.Hour, verify.CodeUntrustedLog}, {-time.Hour, -time.Second, verify.CodeUntrustedLog},
		} {
			in := w.input(t, e)
			root := *in.Root
			root.Logs = slices.Clone(root.Logs)
			for i := range root.Logs {
				root.Logs[i].Window.Start, root.Logs[i].Window.End = coretest.Start.Add(tt.start), coretest.Start.Add(tt.end)
			}
			in.Root = &root
			requireCode(t, name+" in "+root.Logs[0].Window.String(), in, tt.want)
		}
	}
}

func withoutPromise(e *bundle.Evidence) *bundle.Evidence {
	e.Entries[0].SET = nil
	return e
}

// TestA029_KeyWithoutTimeInLogThatEnded: who takes the promise away from a key's
// signature must not gain by it.
func TestA029_KeyWithoutTimeInLogThatEnded(t *testing.T) {
	s := coretest.New(t)
	digest := sha256.Sum256([]byte("an image"))
	key := coretest.NewKey(t)
	e := s.SignDigest(t, digest, coretest.SignOptions{Key: key, WithoutTimestamp: true})
	promised := e.Entries[0].SET
	in := verify.Input{
		Evidence: e, Artifact: verify.SHA256(digest), Now: coretest.Start,
		Signer: verify.Keyed(verify.Key{Name: "k", Public: key.Public()}),
	}
	open := trust.Window{Start: coretest.Start.Add(-48 * time.Hour)}
	ended := trust.Window{Start: open.Start, End: coretest.Start.Add(-24 * time.Hour)}
	for _, window := range []trust.Window{open, ended} {
		in.Root = s.Root()
		for i := range in.Root.Logs {
			in.Root.Logs[i].Window = window
		}
		for _, set := range [][]byte{promised, nil} {
			e.Entries[0].SET = set
			if _, err := verify.Verify(in); (err == nil) != window.End.IsZero() {
				t.Errorf("log trusted %s, promise %t: error is %v", window, set != nil, err)
			}
		}
	}
}

package gate_test

import (
	"encoding/pem"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// What a site demands of every signature is demanded of each.
func TestLIB17_WitnessQuorum(t *testing.T) {
	w := newWorld(t, release)
	one, two, stranger := coretest.NewWitness(t, "one"), coretest.NewWitness(t, "two"), coretest.NewWitness(t, "stranger")
	g := w.newGate(t, release+site("  witnesses:\n    quorum: 2\n    keys: ["+one.Witness().String()+", "+two.Witness().String()+"]\n"))
	seed := int64(90)
	verdict := func(log *coretest.Log, witnesses ...*coretest.Witness) gate.Verdict {
		seed++
		image := w.push(t, "witnessed", coretest.Image(t, seed))
		e := w.sign(t, image, coretest.SignOptions{Identity: alice, Log: log})
		for _, witness := range witnesses {
			e.Entries[0].Proof.Checkpoint = witness.Cosign(t, e.Entries[0].Proof.Checkpoint, coretest.Start)
		}
		w.attach(t, image, e)
		return g.Admit(t.Context(), w.request(t, image))
	}
	require(t, "two witnesses", verdict(w.V2, one, two), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "one witness", verdict(w.V2, one), gate.OutcomeRefused, gate.CodeNotAcceptable)
	require(t, "one witness twice", verdict(w.V2, one, one), gate.OutcomeRefused, gate.CodeNotAcceptable)
	require(t, "one witness and a stranger", verdict(w.V2, one, stranger), gate.OutcomeRefused, gate.CodeNotAcceptable)
	require(t, "none", verdict(w.V2), gate.OutcomeRefused, gate.CodeNotAcceptable)
}

// A certificate authority of one's own takes the place of the trust root's.
func TestOwnPKI(t *testing.T) {
	w := newWorld(t, release)
	other := coretest.New(t)
	var chain strings.Builder
	for _, der := range [][]byte{other.CA.Intermediate.Raw, other.CA.Root.Raw} {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	text := strings.Replace(release, "trustRootRef: test\n", "trustRootRef: test\n      insecureIgnoreSCT: true\n      ca-cert:\n        data: |\n          "+strings.ReplaceAll(chain.String(), "\n", "\n          ")+"\n", 1)
	own := w.newGate(t, text)

	foreign := w.push(t, "foreign", coretest.Image(t, 80))
	mixed := *w.Sigstore
	mixed.CA = other.CA
	e := mixed.SignDigest(t, [32]byte(mustHex(t, foreign.DigestStr())), coretest.SignOptions{Identity: alice})
	w.attach(t, foreign, e)
	w.signAs(t, w.image, alice)

	require(t, "own authority's, own authority wanted", own.Admit(t.Context(), w.request(t, foreign)), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "trust root's, own authority wanted", own.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeRefused, gate.CodeNotAcceptable)
	require(t, "own authority's, trust root's wanted", w.admit(t, foreign), gate.OutcomeRefused, gate.CodeNotAcceptable)
	require(t, "trust root's, trust root's wanted", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// signatureFormat admits one form only.
func TestSignatureFormat(t *testing.T) {
	w := newWorld(t, release)
	legacy := w.push(t, "legacy", coretest.Image(t, 81))
	w.attach(t, legacy, w.sign(t, legacy, coretest.SignOptions{Identity: alice, Content: coretest.SimpleSigning}))
	w.signAs(t, w.image, alice)
	for _, c := range []struct {
		format         string
		legacy, bundle bool
	}{{"legacy", true, false}, {"bundle", false, true}} {
		g := w.newGate(t, release+"    signatureFormat: "+c.format+"\n")
		if v := g.Admit(t.Context(), w.request(t, legacy)); v.Admitted() != c.legacy {
			t.Errorf("%s wanted, legacy there: %s", c.format, v.Reason)
		}
		if v := g.Admit(t.Context(), w.request(t, w.image)); v.Admitted() != c.bundle {
			t.Errorf("%s wanted, bundle there: %s", c.format, v.Reason)
		}
	}
}

// rfc3161timestamp wants an authority's word for the time.
func TestTimestampWanted(t *testing.T) {
	w := newWorld(t, release)
	g := w.newGate(t, release+"    ctlog: {}\n    rfc3161timestamp: {trustRootRef: test}\n")
	bare := w.push(t, "bare", coretest.Image(t, 82))
	w.attach(t, bare, w.sign(t, bare, coretest.SignOptions{Identity: alice, WithoutTimestamp: true}))
	w.signAs(t, w.image, alice)
	require(t, "with timestamp", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "without", g.Admit(t.Context(), w.request(t, bare)), gate.OutcomeRefused, gate.CodeNotAcceptable)
	require(t, "without, not wanted", w.admit(t, bare), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

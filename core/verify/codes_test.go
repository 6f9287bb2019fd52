package verify_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// TestClosedSetOfCodes holds one case for every code that the package declares:
// none is without a cause, and none is missing here.
func TestClosedSetOfCodes(t *testing.T) {
	w := newWorld(t)
	key := coretest.NewKey(t)
	keyed := func(e *bundle.Evidence, k verify.Key) verify.Input {
		in := w.input(t, e)
		in.Signer = verify.Keyed(k)
		return in
	}
	with := func(o coretest.SignOptions, change func(*bundle.Evidence)) verify.Input {
		e := w.sign(t, o)
		change(e)
		return w.input(t, e)
	}
	require := func(in verify.Input, q verify.Requirements) verify.Input {
		in.Require = q
		return in
	}
	witness := verify.Requirements{Witnesses: []*tlog.Witness{coretest.NewWitness(t, "w").Witness()}, Quorum: 1}
	past := &trust.Window{End: coretest.Start.Add(-time.Second)}
	cases := map[verify.Code]verify.Input{
		verify.CodeMalformed:     w.input(t, resign(t, w, inToto, "no statement")),
		verify.CodeUnsupported:   w.input(t, resign(t, w, "text/plain", "x")),
		verify.CodeWrongArtifact: w.input(t, w.SignDigest(t, otherDigest, coretest.SignOptions{Identity: alice})),
		verify.CodeSignature:     with(coretest.SignOptions{}, func(e *bundle.Evidence) { e.Envelope.Signature[9] ^= 1 }),
		verify.CodeCertificate:   with(coretest.SignOptions{}, func(e *bundle.Evidence) { e.Certificates[0] = []byte("x") }),
		verify.CodeUntrustedCA: w.input(t, w.sign(t, coretest.SignOptions{
			Certificate: change(func(s *spec) { s.CA = coretest.NewCA(t, coretest.Start) })})),
		verify.CodeSCT:             w.input(t, w.sign(t, coretest.SignOptions{Certificate: []func(*spec){coretest.PromisedBy()}})),
		verify.CodeLogEntry:        with(coretest.SignOptions{}, func(e *bundle.Evidence) { e.Entries[0].Body = []byte("{}") }),
		verify.CodeLog:             with(coretest.SignOptions{}, func(e *bundle.Evidence) { e.Entries[0].SET = []byte("x") }),
		verify.CodeUntrustedLog:    with(coretest.SignOptions{}, func(e *bundle.Evidence) { e.Entries = nil }),
		verify.CodeTimestamp:       with(coretest.SignOptions{Log: w.V2}, func(e *bundle.Evidence) { e.Timestamps = [][]byte{[]byte("x")} }),
		verify.CodeTooFewSCTs:      require(w.input(t, w.sign(t, coretest.SignOptions{})), verify.Requirements{SCTs: 2}),
		verify.CodeTooFewLogs:      require(w.input(t, w.sign(t, coretest.SignOptions{})), verify.Requirements{Logs: 2}),
		verify.CodeTooFewStamps:    require(w.input(t, w.sign(t, coretest.SignOptions{})), verify.Requirements{Timestamps: 2}),
		verify.CodeTooOld:          require(w.input(t, w.sign(t, coretest.SignOptions{})), verify.Requirements{NotBefore: coretest.Start.Add(time.Hour)}),
		verify.CodeWitnesses:       require(w.input(t, w.sign(t, coretest.SignOptions{})), witness),
		verify.CodeUnwitnessable:   require(with(coretest.SignOptions{}, func(e *bundle.Evidence) { e.Entries[0].Proof = nil }), witness),
		verify.CodeNoTime:          with(coretest.SignOptions{Log: w.V2}, func(e *bundle.Evidence) { e.Timestamps = nil }),
		verify.CodeIdentity:        w.input(t, w.sign(t, coretest.SignOptions{Identity: mallory})),
		verify.CodeKey:             keyed(w.sign(t, coretest.SignOptions{Key: coretest.NewKey(t)}), verify.Key{Name: "k", Public: key.Public()}),
		verify.CodeKeyExpired:      keyed(w.sign(t, coretest.SignOptions{Key: key}), verify.Key{Name: "k", Public: key.Public(), Window: past}),
		verify.CodeWrongSignerKind: keyed(w.sign(t, coretest.SignOptions{}), verify.Key{Name: "k", Public: key.Public()}),
		verify.CodePredicate:       w.input(t, w.sign(t, coretest.SignOptions{PredicateType: "https://slsa.dev/provenance/v1"})),
	}
	declared := declaredCodes(t)
	if len(declared) == 0 {
		t.Fatal("found no declared code")
	}
	for code := range declared {
		in, ok := cases[code]
		if !ok {
			t.Errorf("code %q has no case", code)
			continue
		}
		requireCode(t, string(code), in, code)
	}
	if len(cases) != len(declared) {
		t.Errorf("%d cases, %d declared codes", len(cases), len(declared))
	}
}

// declaredCodes reads the constants of type Code from the package's source.
func declaredCodes(t *testing.T) map[verify.Code]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "result.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := make(map[verify.Code]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if codes[verify.Code(value)] {
				t.Errorf("code %q is declared twice", value)
			}
			codes[verify.Code(value)] = true
		}
		return true
	})
	return codes
}

// TestPX35_ReasonsAreQuoted: what evidence says reaches people quoted.
func TestPX35_ReasonsAreQuoted(t *testing.T) {
	w := newWorld(t)
	const evil = "x\n\x1b[31mADMITTED"
	e := w.sign(t, coretest.SignOptions{})
	kind := clone(e)
	kind.Entries[0].Kind = evil
	payload, err := bundle.SimpleSigningPayload("r", evil)
	if err != nil {
		t.Fatal(err)
	}
	simple := w.sign(t, coretest.SignOptions{Content: coretest.SimpleSigning})
	simple.Payload.Text = payload
	origin := clone(e)
	origin.Entries[0].SET = nil
	origin.Entries[0].Proof.Checkpoint = evil + "\n" + origin.Entries[0].Proof.Checkpoint
	for name, c := range map[string]*bundle.Evidence{
		"kind of entry": kind, "digest in a payload": simple, "origin": origin,
		"payload type":   resign(t, w, evil, "x"),
		"statement type": resign(t, w, inToto, `{"_type":"x\n\u001b[31m"}`),
		"predicate type": resign(t, w, inToto, string(coretest.Statement(digest, `x\n\u001b[31m`, ""))),
		"digest in a statement": resign(t, w, inToto,
			`{"_type":"https://in-toto.io/Statement/v1","predicateType":"`+verify.PredicateImageSignature+`","subject":[{"digest":{"sha256":"x\n\u001b[31m"}}]}`),
		"JSON": resign(t, w, inToto, "{\"x\x1b[31m"),
	} {
		_, err := verify.Verify(w.input(t, c))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, r := range err.Error() {
			if r < ' ' || r == 0x7f {
				t.Errorf("%s: the reason holds control character %q: %q", name, r, err.Error())
				break
			}
		}
	}
}

package verify_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// requireReason is requireCode that also wants a text in the reason: the check that
// refuses is the one that is meant, and not a later one of the same code.
func requireReason(t *testing.T, what string, in verify.Input, want verify.Code, text string) {
	t.Helper()
	requireCode(t, what, in, want)
	if _, err := verify.Verify(in); err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("%s: the reason is %q, want one that names %q", what, err, text)
	}
}

// TestChecksInOrder holds what an explanation of a good signature says, word for
// word, but for what is drawn at random.
func TestChecksInOrder(t *testing.T) {
	w := newWorld(t)
	witness := coretest.NewWitness(t, "witness.example")
	v1 := w.sign(t, coretest.SignOptions{WithoutTimestamp: true})
	v2 := w.sign(t, coretest.SignOptions{Log: w.V2, Content: coretest.MessageSignature})
	v2.Entries[0].Proof.Checkpoint = witness.Cosign(t, v2.Entries[0].Proof.Checkpoint, w.Clock.Now())
	key := coretest.NewKey(t)
	keyed := w.sign(t, coretest.SignOptions{Key: key, Content: coretest.SimpleSigning})
	at := coretest.Start.Format(time.RFC3339)
	about := func(name, value, want string) verify.Check {
		return verify.Check{Name: name, Passed: true, Value: value, Want: want}
	}
	digestOf := verify.SHA256(digest).String()
	serial := func(e *bundle.Evidence) verify.Check {
		return about("certificate profile", fmt.Sprintf("serial %x", parseCertificate(t, e.Certificates[0]).SerialNumber), "")
	}
	issued := about("certificate issuance", "by "+parseCertificate(t, w.CA.Intermediate.Raw).Subject.String(), "")
	promised := about("certificate log", "certificate timestamp of "+at+" by "+w.root.CTLogs[0].BaseURL, "")
	signer := func() verify.Check {
		return about("identity", alice.String(), exactly(t, alice).String())
	}
	entryOf := func(e *bundle.Evidence) verify.Check {
		x := e.Entries[0]
		return about("log entry", fmt.Sprintf("%s %s, index %d", x.Kind, x.Version, x.LogIndex), "")
	}
	proofOf := func(e *bundle.Evidence) verify.Check {
		p := e.Entries[0].Proof
		return about("log proof", fmt.Sprintf("index %d of %d leaves", p.Index, p.TreeSize), "")
	}
	set := about("log proof", "signed entry timestamp of "+at, "")
	tsa := about("signing time", at+" by "+w.root.TimestampAuthorities[0].URI, "")
	artifact := about("artifact digest", digestOf, "")
	byCertificate := about("signature", "by the certificate's key", "")
	for name, tt := range map[string]struct {
		e    *bundle.Evidence
		edit func(*verify.Input)
		want func() []verify.Check
	}{
		"DSSE, promise and proof": {v1, func(*verify.Input) {}, func() []verify.Check {
			return []verify.Check{about("statement", verify.PredicateImageSignature, ""), artifact, serial(v1), byCertificate, entryOf(v1), set, proofOf(v1), issued, promised, signer()}
		}},
		"message signature, witnessed": {v2, func(in *verify.Input) {
			in.Require = verify.Requirements{Witnesses: []*tlog.Witness{witness.Witness()}, Quorum: 1}
		}, func() []verify.Check {
			return []verify.Check{artifact, serial(v2), byCertificate, entryOf(v2), proofOf(v2), about("witnesses", "1 witnesses", "1 witnesses"), tsa, issued, promised, signer()}
		}},
		"no certificate log": {v2, func(in *verify.Input) { in.InsecureIgnoreSCT = true }, func() []verify.Check {
			return []verify.Check{artifact, serial(v2), byCertificate, entryOf(v2), proofOf(v2), tsa, issued, about("certificate log", "not asked for", ""), signer()}
		}},
		"a key": {keyed, func(in *verify.Input) { in.Signer = verify.Keyed(verify.Key{Name: "k", Public: key.Public()}) }, func() []verify.Check {
			return []verify.Check{artifact, about("signature", "by key k", ""), entryOf(keyed), set, proofOf(keyed), tsa, about("key", "key k", "")}
		}},
		"a key, and no trust root": {keyed, func(in *verify.Input) {
			in.Signer, in.Root, in.InsecureIgnoreLog = verify.Keyed(verify.Key{Name: "k", Public: key.Public()}), nil, true
		}, func() []verify.Check {
			return []verify.Check{artifact, about("signature", "by key k", ""), about("log entry", "not asked for", ""), about("key", "key k", "")}
		}},
	} {
		in := w.input(t, tt.e)
		tt.edit(&in)
		got := requireAccepted(t, name, in).Checks
		if diff := cmp.Diff(tt.want(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestA055_LIB27_SCTReasons: which check refused a certificate's promise.
func TestA055_LIB27_SCTReasons(t *testing.T) {
	w := newWorld(t)
	ask := func(what string, want verify.Code, text string, bad func(*forgery)) {
		t.Helper()
		requireReason(t, what, w.forge(t, bad), want, text)
	}
	list := func(f func([]byte) []byte) func(*forgery) { return func(c *forgery) { c.list = f } }
	ask("good twin", "", "", func(*forgery) {})
	ask("a list cut off", verify.CodeSCT, "parsing SCT list", list(func(b []byte) []byte { return b[:len(b)-1] }))
	ask("another signature", verify.CodeSCT, "signature does not match", list(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }))
	ask("a time beyond all clocks", verify.CodeSCT, "is out of range", list(func(b []byte) []byte { b[3+5+32] |= 0x80; return b }))
	requireReason(t, "no promise", w.input(t, w.sign(t, coretest.SignOptions{Certificate: []func(*spec){coretest.PromisedBy()}})), verify.CodeSCT, "carries no certificate timestamp")
	var many []pkix.Extension
	for i := range 130 {
		many = append(many, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i + 1}, Value: asn1.NullBytes})
	}
	ask("130 more extensions", verify.CodeSCT, "more than 128 extensions", func(f *forgery) { f.last = many })
	ask("100 more extensions", "", "", func(f *forgery) { f.last = many[:100] })
	// The promise is good, but the key that the trust root gives for the log is of no such log.
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ask("a log with an Ed25519 key", verify.CodeSCT, "does not sign with ECDSA", func(f *forgery) { f.root = func(r *trust.Root) { r.CTLogs[0].Key = edKey } })
	ask("a log with a key on P-384", verify.CodeSCT, "not ECDSA P-256", func(f *forgery) {
		f.root = func(r *trust.Root) { r.CTLogs[0].Key = ecKey(t, elliptic.P384()).Public() }
	})
	if _, err := sct.FromCertificate(parseCertificate(t, w.forge(t, func(*forgery) {}).Evidence.Certificates[0])); err != nil {
		t.Error(err)
	}
}

// TestA004_A016_LIB14_LogReasons: which check refused a log entry, where another would
// refuse it too, or none would.
func TestA004_A016_LIB14_LogReasons(t *testing.T) {
	w := newWorld(t)
	v1, v2 := w.sign(t, coretest.SignOptions{}), w.sign(t, coretest.SignOptions{Log: w.V2})
	at := func(log *coretest.Log) int {
		return slices.IndexFunc(w.root.Logs, func(l trust.Log) bool { return l.ID == log.ID })
	}
	p384 := ecKey(t, elliptic.P384())
	for _, tt := range []struct {
		name   string
		e      *bundle.Evidence
		change func(x *bundle.Entry)
		root   func(*trust.Root)
		want   verify.Code
		text   string
	}{
		{"v2 with a promise alone", v2, func(x *bundle.Entry) { x.SET, x.Proof = w.V1.Promise(t, *x), nil }, nil, verify.CodeLog, "the Rekor v2 entry has no inclusion proof"},
		{"v2 with both", v2, func(x *bundle.Entry) { x.SET = w.V1.Promise(t, *x) }, nil, verify.CodeLog, "which such logs don't make"},
		{"neither", v1, func(x *bundle.Entry) { x.SET, x.Proof = nil, nil }, nil, verify.CodeLog, "neither a promise nor a proof"},
		{"v1 with a promise of a log that makes none", v1, func(x *bundle.Entry) { x.LogID, x.Proof = w.V2.ID, nil }, nil, verify.CodeLog, "does not make signed entry timestamps"},
		{"v1 with a promise alone", v1, func(x *bundle.Entry) { x.Proof = nil }, nil, "", ""},
		{"v1 origin in a v2 entry", v2, func(x *bundle.Entry) {
			x.Proof.Checkpoint = w.V2.Checkpoint(t, tlog.Checkpoint{Origin: w.V2.Name + " - 123", Size: uint64(x.Proof.TreeSize), Root: [32]byte(x.Proof.RootHash)})
		}, nil, verify.CodeLog, `want "log2025.touchmark.example"`},
		{"v2 origin in a v1 entry", v1, func(x *bundle.Entry) {
			x.Proof.Checkpoint = w.V1.Checkpoint(t, tlog.Checkpoint{Origin: w.V1.Name, Size: uint64(x.Proof.TreeSize), Root: [32]byte(x.Proof.RootHash)})
		}, nil, verify.CodeLog, "is not that of a Rekor v1 log"},
		{"another origin", v2, func(x *bundle.Entry) {
			x.Proof.Checkpoint = w.V2.Checkpoint(t, tlog.Checkpoint{Origin: "evil.example", Size: uint64(x.Proof.TreeSize), Root: [32]byte(x.Proof.RootHash)})
		}, nil, verify.CodeLog, `its origin is "evil.example"`},
		{"another index", v2, func(x *bundle.Entry) { x.LogIndex++ }, nil, verify.CodeLog, "the entry has"},
		{"another size", v2, func(x *bundle.Entry) { x.Proof.TreeSize++ }, nil, verify.CodeLog, "its tree is not the checkpoint's"},
		{"another root", v2, func(x *bundle.Entry) { x.Proof.RootHash[0] ^= 1 }, nil, verify.CodeLog, "its tree is not the checkpoint's"},
		{"another signature", v2, func(x *bundle.Entry) { x.Proof.Checkpoint = strings.Replace(x.Proof.Checkpoint, "\n\n", "\n\n\n", 1) }, nil, verify.CodeLog, "checkpoint: "},
		{"a log without an address", v2, func(*bundle.Entry) {}, func(r *trust.Root) { r.Logs[at(w.V2)].BaseURL = "rekor" }, verify.CodeLog, "names no host"},
		{"a log with half an address", v2, func(*bundle.Entry) {}, func(r *trust.Root) { r.Logs[at(w.V2)].BaseURL = "https://rekor%" }, verify.CodeLog, "names no host"},
		{"a log of another address", v2, func(*bundle.Entry) {}, func(r *trust.Root) { r.Logs[at(w.V2)].BaseURL = "https://evil.example" }, verify.CodeLog, "not signed by the log's key"},
		{"a log with a key on P-384", v2, func(*bundle.Entry) {}, func(r *trust.Root) { r.Logs[at(w.V2)].Key = p384.Public() }, verify.CodeLog, "not on P-256"},
		{"v2 as it is", v2, func(*bundle.Entry) {}, nil, "", ""},
		{"an unknown kind", v1, func(x *bundle.Entry) { x.Kind = "helm" }, nil, verify.CodeUnsupported, `log entries of kind "helm"`},
	} {
		e := clone(tt.e)
		tt.change(&e.Entries[0])
		in := w.input(t, e)
		if tt.root != nil {
			in.Root = w.Root()
			tt.root(in.Root)
		}
		requireReason(t, tt.name, in, tt.want, tt.text)
		if _, err := verify.Verify(in); tt.text == "not signed by the log's key" && !errors.Is(err, tlog.ErrNotSigned) {
			t.Errorf("%s: the cause of %v is lost", tt.name, err)
		}
	}
}

// TestA012_A013_EntryReasons: bodies that a log could hold, and that are not about the evidence.
func TestA012_A013_EntryReasons(t *testing.T) {
	w := newWorld(t)
	logged := func(e *bundle.Evidence, log *coretest.Log, kind, version string, body []byte) verify.Input {
		c := clone(e)
		if json.Valid(body) {
			c.Entries = []bundle.Entry{log.Add(t, body, w.Clock.Now())}
		} else { // no log would hold it
			c.Entries[0].Body, c.Entries[0].LogID = body, log.ID
		}
		c.Entries[0].Kind, c.Entries[0].Version = kind, version
		return w.input(t, c)
	}
	e := w.sign(t, coretest.SignOptions{})
	pem := entry.CertificatePEM(e.Certificates[0])
	pae, payload := sha256.Sum256(bundle.PAE(e.Envelope.PayloadType, e.Envelope.Payload)), sha256.Sum256(e.Envelope.Payload)
	body, err := entry.HashedRekordV001(crypto.SHA256, pae[:], e.Envelope.Signature, pem)
	if err != nil {
		t.Fatal(err)
	}
	requireReason(t, "an envelope as a hashedrekord", logged(e, w.V1, "hashedrekord", "0.0.1", body), verify.CodeUnsupported, "not supported for this form")
	body, err = entry.DSSEV001([32]byte{1}, payload, e.Envelope.Signature, pem)
	if err != nil {
		t.Fatal(err)
	}
	hash := fmt.Sprintf("%x", [32]byte{1})
	for what, tt := range map[string]struct {
		old, new, text string
		want           verify.Code
	}{
		"any hash of the text":     {"", "", "", ""},
		"no hash":                  {hash, "", "envelope hash is not a SHA-256", verify.CodeLogEntry},
		"a hash that breaks off":   {hash, hash + "zz", "envelope hash is not a SHA-256", verify.CodeLogEntry},
		"a byte more":              {hash, hash + "00", "envelope hash is not a SHA-256", verify.CodeLogEntry},
		"a hash of another kind":   {`{"envelopeHash":{"algorithm":"sha256"`, `{"envelopeHash":{"algorithm":"sha512"`, "envelope hash is not a SHA-256", verify.CodeLogEntry},
		"a hash in capitals":       {hash, strings.ToUpper("ab" + hash[2:]), "is not about this signature", verify.CodeLogEntry},
		"a body that is not JSON":  {`"spec"`, `spec`, "malformed JSON", verify.CodeLogEntry},
		"a body of another nature": {`"spec":{`, `"spec":[`, "malformed JSON", verify.CodeLogEntry},
	} {
		changed := []byte(strings.Replace(string(body), tt.old, tt.new, 1))
		requireReason(t, what, logged(e, w.V1, "dsse", "0.0.1", changed), tt.want, tt.text)
	}
	// An intoto entry keeps the client's own PEM text.
	for what, tt := range map[string]struct {
		pem  []byte
		text string
		want verify.Code
	}{
		"the certificate": {pem, "", ""}, "no PEM": {[]byte("x"), "about another certificate or key", verify.CodeLogEntry},
		"its bytes under another label": {bytes.ReplaceAll(pem, []byte("CERTIFICATE"), []byte("PUBLIC KEY")), "about another certificate or key", verify.CodeLogEntry},
		"text behind it":                {append(slices.Clone(pem), 'x'), "about another certificate or key", verify.CodeLogEntry},
	} {
		body, err := entry.IntotoV002([32]byte{1}, payload, e.Envelope.PayloadType, "", e.Envelope.Signature, tt.pem)
		if err != nil {
			t.Fatal(err)
		}
		requireReason(t, what+" in an intoto entry", logged(e, w.V1, "intoto", "0.0.2", body), tt.want, tt.text)
	}
	attestation := w.sign(t, coretest.SignOptions{Content: coretest.LegacyAttestation})
	for _, kind := range [][2]string{{"intoto", "0.0.1"}, {"intoto", "0.0.2"}, {"dsse", "0.0.1"}} {
		requireReason(t, kind[0]+" without a body", logged(attestation, w.V1, kind[0], kind[1], nil), verify.CodeLogEntry, "the log entry's body")
	}
	// cosign signs with SHA-256 whatever the key is; a Rekor v2 log does not hold that.
	key := ecKey(t, elliptic.P384())
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	message := &bundle.Evidence{
		Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03, Certificates: [][]byte{w.Certificate(t, alice, key.Public())},
		Message: &bundle.Message{DigestAlgorithm: "sha256", Digest: digest[:], Signature: sig},
	}
	message.Entries = make([]bundle.Entry, 1)
	message.Timestamps = [][]byte{w.TSA.Stamp(t, sig, w.Clock.Now())}
	requireReason(t, "P-384 over SHA-256 in a v2 log", logged(message, w.V2, "hashedrekord", "0.0.2", nil), verify.CodeLogEntry, "digest has 32 bytes")
	body, err = entry.HashedRekordV001(crypto.SHA256, digest[:], sig, entry.CertificatePEM(message.Certificates[0]))
	if err != nil {
		t.Fatal(err)
	}
	requireReason(t, "P-384 over SHA-256 in a v1 log", logged(message, w.V1, "hashedrekord", "0.0.1", body), "", "")
	// Ed25519 signs a text unhashed, and is logged with its SHA-256.
	ed := edKey(t)
	simple := signedWith(t, ed, crypto.Hash(0), coretest.SimpleSigning)
	simple.Certificates = [][]byte{w.Certificate(t, alice, ed.Public())}
	for hash, want := range map[crypto.Hash]verify.Code{crypto.SHA256: "", crypto.SHA384: verify.CodeLogEntry, crypto.SHA512: verify.CodeLogEntry} {
		h := hash.New()
		h.Write(simple.Payload.Text)
		body, err := entry.HashedRekordV001(hash, h.Sum(nil), simple.Signature(), entry.CertificatePEM(simple.Certificates[0]))
		if err != nil {
			t.Fatal(err)
		}
		requireReason(t, "Ed25519 logged with "+hash.String(), logged(simple, w.V1, "hashedrekord", "0.0.1", body), want, "")
	}
}

// TestA035_Twins: what is asked for and what is ignored contradict each other only for
// the kind of signer that both are about.
func TestA035_Twins(t *testing.T) {
	w := newWorld(t)
	key := coretest.NewKey(t)
	in := w.input(t, w.sign(t, coretest.SignOptions{}))
	in.Require.Logs, in.InsecureIgnoreLog = 1, true
	requireReason(t, "a certificate's log, and keys' logs ignored", in, "", "")
	in = w.input(t, w.sign(t, coretest.SignOptions{Key: key}))
	in.Require.Logs, in.Signer = 1, verify.Keyed(verify.Key{Name: "k", Public: key.Public()})
	requireReason(t, "a key's log", in, "", "")
}

// TestLIB32_A160_MessageDigest: the digest that a message signature is over goes with the key.
func TestLIB32_A160_MessageDigest(t *testing.T) {
	w := newWorld(t)
	sum := sha512.Sum512([]byte("the image"))
	for name, tt := range map[string]struct {
		curve elliptic.Curve
		want  verify.Code
	}{"P-256": {elliptic.P256(), verify.CodeSignature}, "P-384": {elliptic.P384(), verify.CodeSignature}, "P-521": {elliptic.P521(), ""}} {
		key := ecKey(t, tt.curve)
		sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA512)
		if err != nil {
			t.Fatal(err)
		}
		e := &bundle.Evidence{
			Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03, Certificates: [][]byte{w.Certificate(t, alice, key.Public())},
			Message: &bundle.Message{DigestAlgorithm: "sha512", Digest: sum[:], Signature: sig},
		}
		body, err := entry.HashedRekordV001(crypto.SHA512, sum[:], sig, entry.CertificatePEM(e.Certificates[0]))
		if err != nil {
			t.Fatal(err)
		}
		e.Entries = []bundle.Entry{w.V1.Add(t, body, w.Clock.Now())}
		in := w.input(t, e)
		in.Artifact = verify.Digest{Algorithm: "sha512", Value: sum[:]}
		requireReason(t, "SHA-512 with "+name, in, tt.want, "does not go with this key")
	}
}

// TestA029_LogThatWillEnd: a key's signature without a time may lean on a log whose end has not come.
func TestA029_LogThatWillEnd(t *testing.T) {
	w := newWorld(t)
	key := coretest.NewKey(t)
	in := w.input(t, w.sign(t, coretest.SignOptions{Key: key, Log: w.V2, WithoutTimestamp: true}))
	in.Signer = verify.Keyed(verify.Key{Name: "k", Public: key.Public()})
	for end, want := range map[time.Duration]verify.Code{time.Hour: "", -time.Hour: verify.CodeUntrustedLog} {
		in.Root = w.Root()
		for i := range in.Root.Logs {
			in.Root.Logs[i].Window.End = coretest.Start.Add(end)
		}
		requireReason(t, "a log that ends in "+end.String(), in, want, "is trusted")
	}
}

// TestA051_LIB09_Shapes: a statement whose parts are of other types.
func TestA051_LIB09_Shapes(t *testing.T) {
	w := newWorld(t)
	good := string(coretest.Statement(digest, "", ""))
	subject := regexp.MustCompile(`"subject":\[.*?\}\}?\]`).FindString(good)
	if subject == "" {
		t.Fatalf("no subject in %s", good)
	}
	hash := fmt.Sprintf("%x", digest)
	for text, want := range map[string]string{
		`null`: "it has no subject", `[]`: "it has no subject", `{"a":1}`: "found {, want [", `["x"]`: "found string, want {", `[{"digest":["x"]}]`: "found [, want {",
		`[{"digest":{"sha256":1}}]`: "a subject's digest is not a string", `[{"digest":{}}]`: "subject 0 has 0 digests", `[{"name":"x"}]`: "subject 0 has 0 digests",
		`[{"name":["x"],"digest":{"sha256":"` + hash + `"}}]`:                  "",
		`[{"digest":{"sha256":"` + hash + `"}},{"digest":{"sha256":"00"}}]`:    "",
		`[{"digest":{"sha256":"00"}},{"digest":{"sha256":"` + hash + `"}}]`:    "",
		"[" + strings.Repeat(`{"digest":{"a":"x"}},`, 1024) + `{"digest":{}}]`: "more than 1024 subjects",
	} {
		e := resign(t, w, inToto, strings.Replace(good, subject, `"subject":`+text, 1))
		code := verify.CodeMalformed
		if want == "" {
			code = ""
		}
		requireReason(t, text, w.input(t, e), code, want)
	}
}

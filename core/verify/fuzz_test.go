package verify_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/verify"
)

// FuzzStatement has any text signed, logged and stamped. It asserts that what is accepted names the image as encoding/json reads it, too.
func FuzzStatement(f *testing.F) {
	w := newWorld(f)
	good := string(coretest.Statement(digest, "", ""))
	seeds := []string{good, " " + good + "\n", `{"_type":"https://in-toto.io/Statement/v0.1",` + good[1:]}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	key := coretest.NewKey(f)
	in := func(tb testing.TB, payload []byte) verify.Input {
		e := &bundle.Evidence{Form: bundle.FormBundle, Envelope: &bundle.Envelope{
			PayloadType: inToto, Payload: payload, Signature: coretest.Signature(tb, key, bundle.PAE(inToto, payload)),
		}}
		return verify.Input{Evidence: e, Artifact: verify.SHA256(digest), Signer: verify.Keyed(verify.Key{Name: "key", Public: key.Public()}), InsecureIgnoreLog: true, Root: w.root}
	}
	for _, seed := range seeds[:2] {
		requireAccepted(f, seed, in(f, []byte(seed)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		result, err := verify.Verify(in(t, payload))
		if err != nil {
			return
		}
		var st struct {
			Subject       []struct{ Digest map[string]string }
			PredicateType string
		}
		if err := json.Unmarshal(payload, &st); err != nil || st.PredicateType != verify.PredicateImageSignature {
			t.Fatalf("encoding/json reads type %q, %v", st.PredicateType, err)
		}
		named := false
		for _, s := range st.Subject {
			named = named || "sha256:"+s.Digest["sha256"] == verify.SHA256(digest).String()
		}
		if !named || !bytes.Equal(result.Statement, payload) {
			t.Fatalf("accepted, though encoding/json finds no such subject in %s", payload)
		}
	})
}

// FuzzEntryBody puts other text into the body of a log entry, with a right promise and proof for that. It asserts that only the body that the log made for this signature is
// accepted. The evidence is new in each process, so that what is fuzzed is the change of its body.
func FuzzEntryBody(f *testing.F) {
	w := newWorld(f)
	var forms []*bundle.Evidence
	for _, o := range []coretest.SignOptions{{}, {Log: w.V2}, {Content: coretest.MessageSignature}, {Content: coretest.MessageSignature, Log: w.V2}, {Content: coretest.SimpleSigning}} {
		e := w.sign(f, o)
		requireAccepted(f, "seed", w.input(f, e))
		forms = append(forms, e)
		f.Add(uint8(len(forms)-1), uint16(0), uint16(1), []byte(`{"a":1,`))
		f.Add(uint8(len(forms)-1), uint16(20), uint16(0), []byte(" "))
	}
	f.Fuzz(func(t *testing.T, form uint8, at, length uint16, text []byte) {
		good := forms[int(form)%len(forms)]
		old := good.Entries[0].Body
		from := min(int(at), len(old))
		body := slices.Concat(old[:from], text, old[min(from+int(length), len(old)):])
		var head struct{ Kind, APIVersion string }
		if bytes.Equal(body, old) || json.Unmarshal(body, &head) != nil {
			return
		}
		log := coretest.NewLogV1(t)
		log.Key, log.ID = w.V1.Key, w.V1.ID
		if good.Entries[0].SET == nil {
			log = coretest.NewLogV2(t)
			log.Key, log.ID = w.V2.Key, w.V2.ID
		}
		c := clone(good)
		c.Entries = []bundle.Entry{log.Add(t, body, w.Clock.Now())}
		c.Entries[0].Kind, c.Entries[0].Version = good.Entries[0].Kind, good.Entries[0].Version
		if _, err := verify.Verify(w.input(t, c)); err == nil && !sameBut(t, body, old) {
			t.Fatalf("accepted with the body\n%s\nof which the log's own is\n%s", body, old)
		}
	})
}

// sameBut reports whether two bodies differ only in the hash of the envelope's JSON text, which only the log knows.
func sameBut(t *testing.T, a, b []byte) bool {
	t.Helper()
	type dsse struct {
		Spec struct {
			EnvelopeHash struct{ Value string }
		}
	}
	var x, y dsse
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil || x.Spec.EnvelopeHash.Value == "" {
		return false
	}
	return bytes.Equal(bytes.Replace(a, []byte(x.Spec.EnvelopeHash.Value), []byte(y.Spec.EnvelopeHash.Value), 1), b)
}

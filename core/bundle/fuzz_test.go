package bundle_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

// FuzzParseLegacyAttestation asserts that what is read can be written, and is then read as the same. The annotations are a JSON object.
func FuzzParseLegacyAttestation(f *testing.F) {
	s := coretest.New(f)
	key := coretest.NewKey(f)
	seeds := 0
	for _, o := range []coretest.SignOptions{
		{Identity: coretest.Email("alice@acme.example")}, {Key: key}, {Key: key, WithoutTimestamp: true}, {Key: key, WithoutTimestamp: true, WithoutLog: true},
	} {
		e := s.SignDigest(f, [32]byte{1}, o)
		text, annotations := writeAttestation(f, e)
		if _, err := bundle.ParseLegacyAttestation(text, annotations); err != nil {
			f.Fatalf("a seed is not good any more: %v", err)
		}
		object, err := json.Marshal(annotations)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, object)
		seeds++
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, text, object []byte) {
		var annotations map[string]string
		if json.Unmarshal(object, &annotations) != nil {
			return
		}
		first, err := bundle.ParseLegacyAttestation(text, annotations)
		if err != nil {
			return
		}
		if first.Envelope == nil || first.Message != nil || first.Payload != nil || len(first.Signature()) == 0 {
			t.Fatalf("incomplete evidence: %+v", first)
		}
		if !json.Valid(first.Envelope.Payload) {
			return // it cannot be written, as its annotation repeats the predicate's type
		}
		written, err := bundle.LegacyAttestationAnnotations(first)
		if err != nil {
			return // entries without a promise, or a payload that is no statement
		}
		second, err := bundle.ParseLegacyAttestation(first.Envelope.Text, written)
		if err != nil {
			t.Fatalf("written, but cannot be read: %v\n%v", err, written)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changed (-first +second):\n%s", diff)
		}
	})
}

func writeAttestation(tb testing.TB, e *bundle.Evidence) ([]byte, map[string]string) {
	tb.Helper()
	annotations, err := bundle.LegacyAttestationAnnotations(e)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := bundle.EnvelopeJSON(e.Envelope)
	if err != nil {
		tb.Fatal(err)
	}
	return text, annotations
}

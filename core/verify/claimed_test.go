package verify_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/verify"
)

// TestClaimedPredicateType: what evidence calls itself, for people.
func TestClaimedPredicateType(t *testing.T) {
	const spdx = "https://spdx.dev/Document"
	w := newWorld(t)
	malformed := &bundle.Envelope{PayloadType: inToto, Payload: []byte(`{"predicateType":"` + spdx + `"`)}
	for name, tt := range map[string]struct {
		e    *bundle.Evidence
		want string
	}{
		"an attestation":                 {w.sign(t, coretest.SignOptions{PredicateType: spdx}), spdx},
		"a signature as a statement":     {w.sign(t, coretest.SignOptions{}), ""},
		"a message signature":            {w.sign(t, coretest.SignOptions{Content: coretest.MessageSignature}), ""},
		"a statement that is cut off":    {&bundle.Evidence{Envelope: malformed}, ""},
		"nothing that could be verified": {&bundle.Evidence{}, ""},
	} {
		if got := verify.ClaimedPredicateType(tt.e); got != tt.want {
			t.Errorf("%s claims to be %q, want %q", name, got, tt.want)
		}
	}
}

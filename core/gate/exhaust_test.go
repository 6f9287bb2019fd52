package gate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// TestA071_CostlySignatures: mallory has an identity of the same Sigstore, and puts signatures beside the image that are as
// costly to verify as they can be. The decision ends in time, and says that it is none.
func TestA071_CostlySignatures(t *testing.T) {
	var authorities strings.Builder
	for range 20 {
		authorities.WriteString(keyless("team", "alice@acme.example"))
	}
	w := newWorld(t, policyDocument("release", "enforce", authorities.String()))
	costly := w.sign(t, w.image, coretest.SignOptions{Identity: mallory})
	for len(costly.Timestamps) < bundle.MaxTimestamps {
		costly.Timestamps = append(costly.Timestamps, w.TSA.Stamp(t, costly.Signature(), w.Clock.Now()))
	}
	for len(costly.Entries) < bundle.MaxEntries {
		costly.Entries = append(costly.Entries, w.V1.Add(t, costly.Entries[0].Body, w.Clock.Now()))
	}
	raw, err := bundle.Marshal(costly)
	if err != nil {
		t.Fatal(err)
	}
	sig := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for range 100 {
		if sig, err = mutate.AppendLayers(sig, static.NewLayer(raw, bundle.MediaTypeV03)); err != nil {
			t.Fatal(err)
		}
	}
	w.push(t, strings.Replace(w.image.DigestStr(), ":", "-", 1)+".sig", sig)

	start := time.Now()
	v := w.admit(t, w.image)
	require(t, "costly", v, gate.OutcomeUndecided, gate.CodeSlowEvidence)
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("the decision took %s", took)
	}
	if len(v.Signatures) == 100 {
		t.Error("all were tried: the test does not cost enough")
	}

	// A referrer comes before the .sig image.
	w.signAs(t, w.image, alice)
	require(t, "signed", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

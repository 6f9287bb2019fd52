package gate_test

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// The index rule, for each way in which an index and its platforms can be
// signed, and for each of the two that can be asked for.
func TestCTRD06_IndexRule(t *testing.T) {
	w := newWorld(t, release)
	type images struct {
		index     name.Digest
		platforms []name.Digest
	}
	seed := int64(40)
	build := func(signIndex bool, signPlatforms int) images {
		seed++
		idx := coretest.Index(t, seed)
		im := images{index: w.push(t, "index", idx)}
		manifest, err := idx.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range manifest.Manifests {
			platform := w.image.Digest(d.Digest.String())
			im.platforms = append(im.platforms, platform)
			if i < signPlatforms {
				w.signAs(t, platform, alice)
			}
		}
		if signIndex {
			w.signAs(t, im.index, alice)
		}
		return im
	}
	const all = 100
	neither, index, platforms, both, one := build(false, 0), build(true, 0), build(false, all), build(true, all), build(false, 1)

	for _, c := range []struct {
		rule string
		name string
		im   images
		// whether the index is admitted when asked for, and its first platform with
		// the index as known parent
		asIndex, asPlatform bool
	}{
		{"either", "neither signed", neither, false, false},
		{"either", "index signed", index, true, true},
		{"either", "platforms signed", platforms, false, true},
		{"either", "both signed", both, true, true},
		{"index", "neither signed", neither, false, false},
		{"index", "index signed", index, true, true},
		{"index", "platforms signed", platforms, false, false},
		{"index", "both signed", both, true, true},
		{"platform", "neither signed", neither, false, false},
		{"platform", "index signed", index, false, false},
		{"platform", "platforms signed", platforms, true, true},
		{"platform", "one platform signed", one, false, true},
		{"platform", "both signed", both, true, true},
		{"both", "neither signed", neither, false, false},
		{"both", "index signed", index, false, false},
		{"both", "platforms signed", platforms, false, false},
		{"both", "both signed", both, true, true},
	} {
		g := w.newGate(t, release+site("  index: "+c.rule+"\n"))
		for _, asked := range []struct {
			what     string
			verdict  gate.Verdict
			admitted bool
		}{
			{"index", g.Admit(t.Context(), w.request(t, c.im.index)), c.asIndex},
			{"platform", g.Admit(t.Context(), w.request(t, c.im.platforms[0], c.im.index)), c.asPlatform},
		} {
			if asked.verdict.Admitted() != asked.admitted {
				t.Errorf("rule %s, %s, asked for the %s: %s (%s)", c.rule, c.name, asked.what, asked.verdict.Outcome, asked.verdict.Reason)
			}
			if v := asked.verdict; len(v.Policies) == 1 && v.Policies[0].Satisfied != asked.admitted {
				t.Errorf("rule %s, %s, asked for the %s: the policy's result says satisfied: %v", c.rule, c.name, asked.what, v.Policies[0].Satisfied)
			}
		}
	}

	// A single image is its own index and its own platform.
	w.signAs(t, w.image, alice)
	unsigned := w.push(t, "unsigned", coretest.Image(t, 60))
	for _, rule := range []string{"either", "index", "platform", "both"} {
		g := w.newGate(t, release+site("  index: "+rule+"\n"))
		require(t, rule+", signed image", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeAdmitted, gate.CodeAdmitted)
		require(t, rule+", unsigned image", g.Admit(t.Context(), w.request(t, unsigned)), gate.OutcomeRefused, gate.CodeUnsigned)
		// An index that is signed, but does not list the image, admits nothing.
		require(t, rule+", unsigned image, foreign index", g.Admit(t.Context(), w.request(t, unsigned, index.index)), gate.OutcomeRefused, gate.CodeUnsigned)
	}
}

// Where indexes must be signed, a single image that might be in one is not
// judged until that is known.
func TestParentUnknown(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	for _, c := range []struct {
		rule string
		code gate.Code
	}{{"either", gate.CodeAdmitted}, {"platform", gate.CodeAdmitted}, {"index", gate.CodeParentUnknown}, {"both", gate.CodeParentUnknown}} {
		g := w.newGate(t, release+site("  index: "+c.rule+"\n"))
		req := w.request(t, w.image)
		require(t, c.rule+", known", g.Admit(t.Context(), req), gate.OutcomeAdmitted, gate.CodeAdmitted)
		req.ParentsKnown = false
		outcome := gate.OutcomeAdmitted
		if c.code == gate.CodeParentUnknown {
			outcome = gate.OutcomeUndecided
		}
		v := g.Admit(t.Context(), req)
		require(t, c.rule+", unknown", v, outcome, c.code)
		if v.ParentMayHelp() != (c.code == gate.CodeParentUnknown) {
			t.Errorf("%s: a parent may help: %v", c.rule, v.ParentMayHelp())
		}
	}
}

// nest puts indexes into one, which nobody signs.
func (w *world) nest(tb testing.TB, tag string, indexes ...v1.ImageIndex) name.Digest {
	tb.Helper()
	outer := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, inner := range indexes {
		outer = mutate.AppendManifests(outer, mutate.IndexAddendum{Add: inner})
	}
	return w.push(tb, tag, outer)
}

// Where each platform must be signed, an index around a signed index is no way
// past its platforms.
func TestCTRD06_PX09_NestedIndex(t *testing.T) {
	w := newWorld(t, release)
	g := w.newGate(t, release+site("  index: platform\n"))
	build := func(seed int64, signPlatforms bool) v1.ImageIndex {
		idx := coretest.Index(t, seed)
		w.signAs(t, w.push(t, "inner", idx), alice)
		manifest, err := idx.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range manifest.Manifests {
			if signPlatforms {
				w.signAs(t, w.image.Digest(d.Digest.String()), alice)
			}
		}
		return idx
	}
	signed, unsigned := build(700, true), build(710, false)
	require(t, "platforms signed", g.Admit(t.Context(), w.request(t, w.nest(t, "a", signed))), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "nested index signed, platforms not", g.Admit(t.Context(), w.request(t, w.nest(t, "b", unsigned))), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "one of two", g.Admit(t.Context(), w.request(t, w.nest(t, "c", signed, unsigned))), gate.OutcomeRefused, gate.CodeUnsigned)
	var many []v1.ImageIndex
	for range 9 {
		many = append(many, signed)
	}
	require(t, "nine nested indexes", g.Admit(t.Context(), w.request(t, w.nest(t, "d", many...))), gate.OutcomeUndecided, gate.CodeTooMuch)
}

package gate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// site is an Enforcement document with this spec.
func site(spec string) string {
	return "---\napiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nmetadata:\n  name: site\nspec:\n" + spec
}

func TestExceptionsPinsAndRevocations(t *testing.T) {
	w := newWorld(t, release)
	signed := w.push(t, "signed", coretest.Image(t, 20))
	w.signAs(t, signed, alice)
	soon := coretest.Start.Add(48 * time.Hour).Format(time.RFC3339)
	exception := func(image string) string {
		return site("  exceptions:\n  - image: " + image + "\n    reason: vendor signs next week\n    by: bob\n    expires: " + soon + "\n")
	}
	pin := func(image string) string {
		return site("  pins:\n  - image: " + image + "\n    reason: pause image\n    by: bob\n    review: " + soon + "\n")
	}
	revoke := func(digest string) string {
		return site("  revocations:\n  - image: " + digest + "\n    reason: CVE-2026-1\n")
	}
	unsignedDigest, signedDigest := w.image.DigestStr(), signed.DigestStr()

	for _, c := range []struct {
		name, policy, digest string
		outcome              gate.Outcome
		code                 gate.Code
		requests             bool
	}{
		{"nothing said", "", unsignedDigest, gate.OutcomeRefused, gate.CodeUnsigned, true},
		{"exception", exception(unsignedDigest), unsignedDigest, gate.OutcomeAdmitted, gate.CodeException, false},
		{"exception in the repository", exception(repository + "@" + unsignedDigest), unsignedDigest, gate.OutcomeAdmitted, gate.CodeException, false},
		{"exception in another repository", exception("registry.example/acme/other@" + unsignedDigest), unsignedDigest, gate.OutcomeRefused, gate.CodeUnsigned, true},
		{"exception for another digest", exception(signedDigest), unsignedDigest, gate.OutcomeRefused, gate.CodeUnsigned, true},
		{"pin", pin(unsignedDigest), unsignedDigest, gate.OutcomeAdmitted, gate.CodePinned, false},
		{"pin of another digest", pin(signedDigest), unsignedDigest, gate.OutcomeRefused, gate.CodeUnsigned, true},
		{"revoked although signed", revoke(signedDigest), signedDigest, gate.OutcomeRefused, gate.CodeRevoked, false},
		{"another one revoked", revoke(unsignedDigest), signedDigest, gate.OutcomeAdmitted, gate.CodeAdmitted, true},
		{"revoked although excepted", exception(unsignedDigest) + "  revocations:\n  - image: " + unsignedDigest + "\n    reason: CVE-2026-1\n", unsignedDigest, gate.OutcomeRefused, gate.CodeRevoked, false},
		{"revoked although pinned", pin(unsignedDigest) + "  revocations:\n  - image: " + unsignedDigest + "\n    reason: CVE-2026-1\n", unsignedDigest, gate.OutcomeRefused, gate.CodeRevoked, false},
	} {
		g := w.newGate(t, release+c.policy)
		w.wire.count()
		v := g.Admit(t.Context(), w.request(t, w.image.Digest(c.digest)))
		require(t, c.name, v, c.outcome, c.code)
		if asked := w.wire.count() > 0; asked != c.requests {
			t.Errorf("%s: asked the registry: %v", c.name, asked)
		}
		if (v.Grant != nil) != (c.code == gate.CodeException || c.code == gate.CodePinned) {
			t.Errorf("%s: grant is %+v", c.name, v.Grant)
		}
	}
}

// What is said of an index holds for the platforms that it lists, and for no
// others that somebody claims it lists.
func TestGrantsOfIndexes(t *testing.T) {
	w := newWorld(t, release)
	idx := coretest.Index(t, 25)
	index := w.push(t, "index", idx)
	manifest, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	platform := w.image.Digest(manifest.Manifests[0].Digest.String())
	rule := func(kind, rest string) *gate.Gate {
		return w.newGate(t, release+site("  "+kind+":\n  - image: "+index.DigestStr()+"\n    reason: r\n"+rest))
	}
	soon := coretest.Start.Add(48 * time.Hour).Format(time.RFC3339)
	excepted, pinned, revoked := rule("exceptions", "    by: bob\n    expires: "+soon+"\n"), rule("pins", "    by: bob\n    review: "+soon+"\n"), rule("revocations", "")
	for _, c := range []struct {
		name    string
		verdict gate.Verdict
		outcome gate.Outcome
		code    gate.Code
	}{
		{"platform of an excepted index", excepted.Admit(t.Context(), w.request(t, platform, index)), gate.OutcomeAdmitted, gate.CodeException},
		{"the same, index not named", excepted.Admit(t.Context(), w.request(t, platform)), gate.OutcomeRefused, gate.CodeUnsigned},
		{"image that is not in it", excepted.Admit(t.Context(), w.request(t, w.image, index)), gate.OutcomeRefused, gate.CodeUnsigned},
		{"platform of a pinned index", pinned.Admit(t.Context(), w.request(t, platform, index)), gate.OutcomeAdmitted, gate.CodePinned},
		{"image that is not in it, pinned", pinned.Admit(t.Context(), w.request(t, w.image, index)), gate.OutcomeRefused, gate.CodeUnsigned},
	} {
		require(t, c.name, c.verdict, c.outcome, c.code)
	}
	w.signAs(t, platform, alice)
	w.signAs(t, w.image, alice)
	require(t, "platform of a revoked index", revoked.Admit(t.Context(), w.request(t, platform, index)), gate.OutcomeRefused, gate.CodeRevoked)
	require(t, "image that is not in it, revoked", revoked.Admit(t.Context(), w.request(t, w.image, index)), gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.wire.set(status(500))
	require(t, "outage", excepted.Admit(t.Context(), w.request(t, platform, index)), gate.OutcomeAdmitted, gate.CodeException) // cached
	w.clock.Advance(11 * time.Minute)
	require(t, "outage", excepted.Admit(t.Context(), w.request(t, platform, index)), gate.OutcomeUndecided, gate.CodeLookupFailed)
}

// An index that lists a revoked image is refused: containerd asks about the
// index, and runs the image.
func TestRevokedPlatform(t *testing.T) {
	w := newWorld(t, release)
	idx, other := coretest.Index(t, 26), coretest.Index(t, 27)
	index, good := w.push(t, "index", idx), w.push(t, "other", other)
	around := w.nest(t, "around", idx)
	for _, d := range []name.Digest{index, good, around, w.image} {
		w.signAs(t, d, alice)
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	platform := manifest.Manifests[1].Digest.String()
	revoked := "  revocations:\n  - image: " + platform + "\n    reason: r\n"
	g := w.newGate(t, release+site(revoked))
	require(t, "the platform", g.Admit(t.Context(), w.request(t, w.image.Digest(platform))), gate.OutcomeRefused, gate.CodeRevoked)
	require(t, "the index", g.Admit(t.Context(), w.request(t, index)), gate.OutcomeRefused, gate.CodeRevoked)
	require(t, "an index around it", g.Admit(t.Context(), w.request(t, around)), gate.OutcomeRefused, gate.CodeRevoked)
	require(t, "another index", g.Admit(t.Context(), w.request(t, good)), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "another image", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeAdmitted, gate.CodeAdmitted)
	req := w.request(t, index)
	req.MediaType = string(types.OCIManifestSchema1)
	require(t, "the index, said to be none", g.Admit(t.Context(), req), gate.OutcomeRefused, gate.CodeRevoked)
	observed := w.newGate(t, strings.Replace(release, "spec:\n", "spec:\n  mode: observe\n", 1)+site(revoked))
	require(t, "the policy observes", observed.Admit(t.Context(), w.request(t, index)), gate.OutcomeRefused, gate.CodeRevoked)
	site := w.newGate(t, release+site("  mode: observe\n"+revoked))
	require(t, "the site observes", site.Admit(t.Context(), w.request(t, index)), gate.OutcomeAdmitted, gate.CodeObserved)
}

// An exception ends when it says so, whatever the cache holds.
func TestLIB45_ExceptionEnds(t *testing.T) {
	w := newWorld(t, release)
	ends := coretest.Start.Add(3 * time.Minute)
	g := w.newGate(t, release+site("  exceptions:\n  - image: "+w.image.DigestStr()+"\n    reason: r\n    by: bob\n    expires: "+ends.Format(time.RFC3339)+"\n"))
	require(t, "before", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeAdmitted, gate.CodeException)
	w.clock.Advance(2 * time.Minute)
	require(t, "still before", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeAdmitted, gate.CodeException)
	w.clock.Advance(2 * time.Minute)
	require(t, "after", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeRefused, gate.CodeUnsigned)
}

func TestRevokedSigners(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	identity := "  revocations:\n  - identity:\n      issuer: " + coretest.Issuer + "\n      subject: %s\n    reason: laptop stolen\n%s"
	for _, c := range []struct {
		name, subject, window string
		outcome               gate.Outcome
	}{
		{"another signer", "bob@acme.example", "", gate.OutcomeAdmitted},
		{"for ever", "alice@acme.example", "", gate.OutcomeRefused},
		{"from before she signed", "alice@acme.example", "    from: " + coretest.Start.Add(-time.Hour).Format(time.RFC3339) + "\n", gate.OutcomeRefused},
		{"from after she signed", "alice@acme.example", "    from: " + coretest.Start.Add(time.Hour).Format(time.RFC3339) + "\n", gate.OutcomeAdmitted},
		{"until before she signed", "alice@acme.example", "    until: " + coretest.Start.Add(-time.Hour).Format(time.RFC3339) + "\n", gate.OutcomeAdmitted},
	} {
		g := w.newGate(t, release+site(fmt.Sprintf(identity, c.subject, c.window)))
		v := g.Admit(t.Context(), w.request(t, w.image))
		code := gate.CodeAdmitted
		if c.outcome == gate.OutcomeRefused {
			code = gate.CodeNotAcceptable
			if got := v.Signatures[0].Attempts[0].Code; got != gate.AttemptRevoked {
				t.Errorf("%s: attempt has code %s", c.name, got)
			}
		}
		require(t, c.name, v, c.outcome, code)
	}
}

func TestSignatureAge(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	g := w.newGate(t, release+site("  maxSignatureAge: 720h\n"))
	w.clock.Advance(719 * time.Hour)
	require(t, "young enough", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.clock.Advance(2 * time.Hour)
	require(t, "A064: too old", g.Admit(t.Context(), w.request(t, w.image)), gate.OutcomeRefused, gate.CodeNotAcceptable)
}

func TestUnmatchedAndObservingSites(t *testing.T) {
	w := newWorld(t, release)
	other := "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: other}\nspec:\n  images: [{glob: registry.example/other/*}]\n  authorities: [{static: {action: pass}}]\n"
	for _, c := range []struct {
		name, policy string
		outcome      gate.Outcome
		code         gate.Code
	}{
		{"default", other, gate.OutcomeRefused, gate.CodeNoPolicy},
		{"refuse", other + site("  unmatched: {action: refuse}\n"), gate.OutcomeRefused, gate.CodeNoPolicy},
		{"observe", other + site("  unmatched: {action: refuse, mode: observe}\n"), gate.OutcomeAdmitted, gate.CodeObserved},
		{"insecureAdmit", other + site("  unmatched: {action: insecureAdmit}\n"), gate.OutcomeAdmitted, gate.CodeUnmatched},
		{"site observes, unmatched", other + site("  mode: observe\n"), gate.OutcomeAdmitted, gate.CodeObserved},
		{"site observes, unsigned", release + site("  mode: observe\n"), gate.OutcomeAdmitted, gate.CodeObserved},
		{"site observes, revoked", release + site("  mode: observe\n  revocations:\n  - image: "+w.image.DigestStr()+"\n    reason: r\n"), gate.OutcomeAdmitted, gate.CodeObserved},
	} {
		require(t, c.name, w.newGate(t, c.policy).Admit(t.Context(), w.request(t, w.image)), c.outcome, c.code)
	}
}

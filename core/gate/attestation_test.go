package gate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

const (
	provenance = "https://slsa.dev/provenance/v1"
	vuln       = "https://cosign.sigstore.dev/attestation/vuln/v1"
)

// contains is an evaluator whose programs are texts that the document must
// hold; "fault" is a program that cannot be evaluated.
type contains struct{}

func (contains) Compile(_ context.Context, source string) (policy.Program, error) {
	return program(source), nil
}

type program string

func (p program) Evaluate(_ context.Context, document []byte) error {
	switch {
	case p == "fault":
		return errors.New("division by zero")
	case !strings.Contains(string(document), string(p)):
		return fmt.Errorf("%w: there is no %s", policy.ErrUnsatisfied, string(p))
	}
	return nil
}

func (w *world) gateWithPredicates(tb testing.TB, text string) *gate.Gate {
	tb.Helper()
	set, err := policy.Parse(tb.Context(), []byte(text), policy.Options{Evaluators: map[string]policy.Evaluator{"rego": contains{}}})
	if err != nil {
		tb.Fatal(err)
	}
	g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{w.root}, Now: w.clock.Now})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// wantsAttestations adds attestations to release's authority.
func wantsAttestations(list ...string) string {
	return release + "    attestations:\n" + strings.Join(list, "")
}

func attestation(name, predicateType, rego string) string {
	text := "    - name: " + name + "\n      predicateType: " + predicateType + "\n"
	if rego != "" {
		text += "      policy: {type: rego, data: '" + rego + "'}\n"
	}
	return text
}

func TestA041_Attestations(t *testing.T) {
	w := newWorld(t, release)
	attest := func(predicateType, predicate string, o coretest.SignOptions) {
		o.PredicateType, o.Predicate = predicateType, predicate
		w.attach(t, w.image, w.sign(t, w.image, o))
	}
	wanted := wantsAttestations(attestation("prov", provenance, ""))
	admit := func(text string) gate.Verdict {
		return w.gateWithPredicates(t, text).Admit(t.Context(), w.request(t, w.image))
	}
	require(t, "nothing there", admit(wanted), gate.OutcomeRefused, gate.CodeUnsigned)
	w.signAs(t, w.image, alice)
	require(t, "only a signature", admit(wanted), gate.OutcomeRefused, gate.CodeNoAttestation)
	attest(vuln, `{"scanner":"x"}`, coretest.SignOptions{Identity: alice})
	require(t, "only another type", admit(wanted), gate.OutcomeRefused, gate.CodeNoAttestation)
	attest(provenance, `{"builder":"evil"}`, coretest.SignOptions{Identity: mallory})
	require(t, "right type, wrong signer", admit(wanted), gate.OutcomeRefused, gate.CodeNotAcceptable)
	attest(provenance, `{"builder":"good"}`, coretest.SignOptions{Identity: alice})
	require(t, "attested", admit(wanted), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "signed too", admit(release), gate.OutcomeAdmitted, gate.CodeAdmitted)

	both := wantsAttestations(attestation("prov", provenance, ""), attestation("scan", vuln, ""))
	require(t, "two types", admit(both), gate.OutcomeAdmitted, gate.CodeAdmitted)
	three := wantsAttestations(attestation("prov", provenance, ""), attestation("sbom", "https://spdx.dev/Document", ""))
	require(t, "A049: one of two is missing", admit(three), gate.OutcomeRefused, gate.CodeNoAttestation)

	require(t, "predicate satisfied", admit(wantsAttestations(attestation("prov", provenance, "good"))), gate.OutcomeAdmitted, gate.CodeAdmitted)
	v := admit(wantsAttestations(attestation("prov", provenance, "better")))
	require(t, "predicate unsatisfied", v, gate.OutcomeRefused, gate.CodePredicate)
	if !strings.Contains(v.Reason, "there is no better") {
		t.Errorf("reason is %q", v.Reason)
	}
	// What only another signer attested never reaches the predicate.
	require(t, "predicate satisfied by another's", admit(wantsAttestations(attestation("prov", provenance, "evil"))), gate.OutcomeRefused, gate.CodePredicate)
	require(t, "predicate faulty", admit(wantsAttestations(attestation("prov", provenance, "fault"))), gate.OutcomeUndecided, gate.CodePredicateFail)
	require(t, "statement names the image", admit(wantsAttestations(attestation("prov", provenance, strings.TrimPrefix(w.image.DigestStr(), "sha256:")))), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// An attestation where a signature is wanted says so, and how it would do.
func TestGATE01_Advice(t *testing.T) {
	w := newWorld(t, release)
	w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Identity: alice, PredicateType: provenance}))
	v := w.admit(t, w.image)
	require(t, "attested, not signed", v, gate.OutcomeRefused, gate.CodeAttestationOnly)
	if !strings.Contains(v.Advice, "attestations:\n- name: attestation-1\n  predicateType: \""+provenance+"\"") {
		t.Errorf("advice is %q", v.Advice)
	}
	// Taken over, it admits.
	require(t, "advice taken", w.newGate(t, wantsAttestations(attestation("attestation-1", provenance, ""))).Admit(t.Context(), w.request(t, w.image)), gate.OutcomeAdmitted, gate.CodeAdmitted)

	// No advice to trust somebody else.
	other := w.push(t, "other", coretest.Image(t, 71))
	w.attach(t, other, w.sign(t, other, coretest.SignOptions{Identity: mallory, PredicateType: provenance}))
	v = w.admit(t, other)
	require(t, "attested by another", v, gate.OutcomeRefused, gate.CodeAttestationOnly)
	if v.Advice != "" {
		t.Errorf("advice is %q", v.Advice)
	}
}

// A policy's own predicate sees which authorities were satisfied, and by whom.
func TestPolicyPredicate(t *testing.T) {
	w := newWorld(t, release)
	withPredicate := func(rego string) string {
		return release + "  policy: {type: rego, data: '" + rego + "'}\n"
	}
	admit := func(text string) gate.Verdict {
		return w.gateWithPredicates(t, text).Admit(t.Context(), w.request(t, w.image))
	}
	require(t, "unsigned", admit(withPredicate("team")), gate.OutcomeRefused, gate.CodeUnsigned)
	w.signAs(t, w.image, mallory)
	require(t, "signed by another", admit(withPredicate("team")), gate.OutcomeRefused, gate.CodeNotAcceptable)
	w.signAs(t, w.image, alice)
	require(t, "satisfied", admit(withPredicate(`"subject":"alice@acme.example"`)), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "unsatisfied", admit(withPredicate("bob")), gate.OutcomeRefused, gate.CodePredicate)
	require(t, "sees no one who was refused", admit(withPredicate("mallory")), gate.OutcomeRefused, gate.CodePredicate)
	require(t, "faulty", admit(withPredicate("fault")), gate.OutcomeUndecided, gate.CodePredicateFail)
}

func TestSources(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	elsewhere := coretest.Push(t, w.host+"/acme/signatures:x", coretest.Image(t, 1)) // the same image in another repository
	_ = elsewhere
	source := func(repo string) string {
		return release + "    source:\n    - oci: " + repo + "\n"
	}
	admit := func(text string) gate.Verdict {
		return w.newGate(t, text).Admit(t.Context(), w.request(t, w.image))
	}
	require(t, "beside the image, named", admit(source(w.host+"/acme/app")), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "LIB-01: another repository that has none", admit(source(w.host+"/acme/signatures")), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "registry that is not there", admit(source("127.0.0.1:1/acme/app")), gate.OutcomeUndecided, gate.CodeLookupFailed)
}

// fetchConfigFile gives the predicate the image's configuration, as it is.
func TestPolicyPredicateSeesTheConfiguration(t *testing.T) {
	w := newWorld(t, release)
	index := w.push(t, "index", coretest.Index(t, 61))
	for _, d := range []name.Digest{w.image, index} {
		w.signAs(t, d, alice)
	}
	admit := func(d name.Digest, fetch, rego string) gate.Verdict {
		g := w.gateWithPredicates(t, release+"  policy: {type: rego, fetchConfigFile: "+fetch+", data: '"+rego+"'}\n")
		return g.Admit(t.Context(), w.request(t, d))
	}
	require(t, "asked for", admit(w.image, "true", `"config":{"linux/amd64":{`), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "not asked for", admit(w.image, "false", `"config"`), gate.OutcomeRefused, gate.CodePredicate)
	require(t, "something else wanted", admit(w.image, "true", `"linux/riscv64"`), gate.OutcomeRefused, gate.CodePredicate)
	require(t, "of an index", admit(index, "true", `"linux/arm64":{`), gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.wire.set(at("/blobs/", status(500)))
	require(t, "outage", admit(w.image, "true", `"config"`), gate.OutcomeUndecided, gate.CodeLookupFailed)
}

package oracles

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/cue"
	"github.com/touchmark/touchmark/core/policy/rego"
)

// Authorities, as they stand in the policies below.
const (
	log        = `ctlog: {url: REKOR, trustRootRef: test}`
	stamp      = `rfc3161timestamp: {trustRootRef: test}`
	aliceAlone = `keyless: {trustRootRef: test, identities: [{issuer: ISSUER, subject: alice@acme.example}]}`
	aliceKeys  = aliceAlone + `, ` + log
	// No certificate log, because policy-controller finds none in the TrustRoot of a policy about bundles.
	stampedAlice = `keyless: {trustRootRef: test, insecureIgnoreSCT: true, identities: [{issuer: ISSUER, subject: alice@acme.example}]}, ` + stamp
	bobKeys      = `keyless: {trustRootRef: test, identities: [{issuer: ISSUER, subject: bob@acme.example}]}, ` + log
	vulnType     = `"https://cosign.sigstore.dev/attestation/vuln/v1"`
	clean        = `policy: {type: rego, data: "package sigstore\ndefault isCompliant = false\nisCompliant { input.predicate.critical == 0 }"}`
	cleanCUE     = `policy: {type: cue, data: "predicate: critical: 0"}`
)

// Images that more than one policy admits.
var (
	legacyByAlice = []string{"alice", "alice-logged", "mallory-then-alice", "alice-and-bob", "signed-and-scanned", "index"}
	// Ours reads bundles too, where policy-controller has to be told to, and then reads nothing else.
	bundlesByAlice = []string{"bundle"}
	legacyByKey    = []string{"p256", "p256-logged", "p256-stamped"}
	cleanScans     = []string{"scan-clean", "scans-of-both-kinds", "provenance-and-scan", "signed-and-scanned"}
	everyScan      = append([]string{"scan-critical"}, cleanScans...)
)

// exchange is a set of policies, and everything that it admits: each other image of the exhibits must be refused, by ours and by policy-controller.
type exchange struct {
	name     string
	policies []string // the spec of each; about everything below acme, unless it says otherwise
	admits   []string // images
	answer   string   // to these; "" is admitted
	// Where ours and policy-controller differ, by the first column of the table in docs/policy.md.
	onlyOurs   map[string][]string // ours admits it, policy-controller doesn't
	onlyTheirs map[string][]string // the other way round
}

const (
	bothForms     = "`signatureFormat` missing"
	onlyBundles   = "`signatureFormat: bundle`"
	withoutLog    = "keyless with `trustRootRef` without `ctlog`"
	logWithoutURL = "`ctlog` without `url`"
	logAndStamp   = "`ctlog` and `rfc3161timestamp`"
	noStamp       = "`rfc3161timestamp`, and a signature without a timestamp"
	emptyStamp    = "`rfc3161timestamp: {}`"
	partialRegex  = "regular expressions of identities"
	ownHash       = "`hashAlgorithm` missing"
	rekorV2       = "logs of Rekor v2"
	openCUE       = "CUE that a document leaves open"
	wholeGlobs    = "globs that do not end in `*`"
)

var exchanges = []exchange{
	{name: "an identity", policies: []string{`authorities: [{` + aliceKeys + `}]`},
		admits: legacyByAlice, onlyOurs: map[string][]string{bothForms: bundlesByAlice}},
	{name: "another identity", policies: []string{`authorities: [{` + bobKeys + `}]`}, admits: []string{"bob", "alice-and-bob"}},
	{name: "two identities", policies: []string{`authorities: [{keyless: {trustRootRef: test, identities: [{issuer: ISSUER, subject: bob@acme.example}, {issuer: ISSUER, subjectRegExp: "^https://ci[.]acme[.]example/app/.*$"}]}, ` + log + `}]`},
		admits: []string{"bob", "alice-and-bob", "machine"}},
	{name: "an issuer by regular expression", policies: []string{`authorities: [{keyless: {trustRootRef: test, identities: [{issuerRegExp: "^https://issuer[.]touchmark[.]example$", subject: alice@acme.example}]}, ` + log + `}]`},
		admits: legacyByAlice, onlyOurs: map[string][]string{bothForms: bundlesByAlice}},
	{name: "a regular expression that matches a part", policies: []string{`authorities: [{keyless: {trustRootRef: test, identities: [{issuer: ISSUER, subjectRegExp: "alice@acme.example"}]}, ` + log + `}]`},
		admits:   legacyByAlice,
		onlyOurs: map[string][]string{bothForms: bundlesByAlice}, onlyTheirs: map[string][]string{partialRegex: {"lookalike"}}},
	{name: "an issuer's name in another's", policies: []string{`authorities: [{keyless: {trustRootRef: test, identities: [{issuerRegExp: "evil", subject: alice@acme.example}]}, ` + log + `}]`},
		onlyTheirs: map[string][]string{partialRegex: {"elsewhere"}}},
	{name: "two authorities", policies: []string{`authorities: [{` + bobKeys + `}, {key: {data: KEY-other!}}]`}, admits: []string{"bob", "alice-and-bob", "other"}},
	{name: "two policies", policies: []string{`authorities: [{` + aliceKeys + `}]`, `authorities: [{` + bobKeys + `}]`}, admits: []string{"alice-and-bob"}},
	{name: "a policy about another repository besides", policies: []string{`authorities: [{` + bobKeys + `}]`, "images: [{glob: REGISTRY/other/**}]\nauthorities: [{static: {action: fail}}]"},
		admits: []string{"bob", "alice-and-bob"}},
	{name: "another trust root", policies: []string{`authorities: [{keyless: {trustRootRef: second, identities: [{issuer: ISSUER, subject: alice@acme.example}]}, ctlog: {url: REKOR, trustRootRef: second}}]`},
		admits: []string{"alice-of-second"}},
	{name: "the log of another trust root", policies: []string{`authorities: [{` + aliceAlone + `, ctlog: {url: REKOR, trustRootRef: second}}]`}},

	{name: "no log", policies: []string{`authorities: [{` + aliceAlone + `}]`}, admits: nil,
		onlyOurs:   map[string][]string{bothForms: bundlesByAlice, withoutLog: legacyByAlice},
		onlyTheirs: map[string][]string{withoutLog: {"alice-today-without-any-time"}}},
	{name: "a timestamp", policies: []string{`authorities: [{` + aliceAlone + `, ` + stamp + `}]`},
		admits:     []string{"alice", "alice-stamped", "mallory-then-alice", "alice-and-bob", "signed-and-scanned", "index"},
		onlyOurs:   map[string][]string{bothForms: {"bundle", "bundle-rekor-v2"}},
		onlyTheirs: map[string][]string{noStamp: {"alice-today-without-any-time"}}},
	{name: "a timestamp and a log", policies: []string{`authorities: [{` + aliceKeys + `, ` + stamp + `}]`},
		admits:     []string{"alice", "mallory-then-alice", "alice-and-bob", "signed-and-scanned", "index"},
		onlyOurs:   map[string][]string{bothForms: bundlesByAlice},
		onlyTheirs: map[string][]string{logAndStamp: {"alice-stamped"}, noStamp: {"alice-today-without-any-time"}}},
	{name: "a timestamp of some authority", policies: []string{`authorities: [{` + aliceKeys + `, rfc3161timestamp: {}}]`},
		admits:     []string{"alice", "mallory-then-alice", "alice-and-bob", "signed-and-scanned", "index"},
		onlyOurs:   map[string][]string{bothForms: bundlesByAlice},
		onlyTheirs: map[string][]string{emptyStamp: {"alice-logged"}}},
	{name: "without a certificate log", policies: []string{`authorities: [{keyless: {trustRootRef: test, insecureIgnoreSCT: true, identities: [{issuer: ISSUER, subject: alice@acme.example}]}, ` + log + `}]`},
		admits: append([]string{"alice-without-sct"}, legacyByAlice...), onlyOurs: map[string][]string{bothForms: bundlesByAlice}},
	{name: "a URL that is the authority's", policies: []string{`authorities: [{keyless: {url: "https://ca.touchmark.example", trustRootRef: test, identities: [{issuer: ISSUER, subject: alice@acme.example}]}, ` + log + `}]`},
		admits: legacyByAlice, onlyOurs: map[string][]string{bothForms: bundlesByAlice}},
	{name: "a log without a URL", policies: []string{`authorities: [{` + aliceAlone + `, ctlog: {trustRootRef: test}}]`},
		onlyOurs: map[string][]string{bothForms: bundlesByAlice, logWithoutURL: legacyByAlice}, onlyTheirs: map[string][]string{logWithoutURL: {"alice-today-without-any-time"}}},

	{name: "a key", policies: []string{`authorities: [{key: {data: KEY-p256!}}]`}, admits: legacyByKey, onlyOurs: map[string][]string{bothForms: {"bundle-by-key"}}},
	{name: "another key", policies: []string{`authorities: [{key: {data: KEY-other!}}]`}, admits: []string{"other"}},
	{name: "a key and a log", policies: []string{`authorities: [{key: {data: KEY-p256!}, ` + log + `}]`},
		admits: []string{"p256-logged"}, onlyOurs: map[string][]string{bothForms: {"bundle-by-key"}}},
	{name: "a key and a timestamp", policies: []string{`authorities: [{key: {data: KEY-p256!}, ` + stamp + `}]`}, admits: []string{"p256-stamped"},
		onlyTheirs: map[string][]string{noStamp: {"p256", "p256-logged"}}},
	{name: "an RSA key", policies: []string{`authorities: [{key: {data: KEY-rsa!}}]`}, admits: []string{"rsa"}},
	{name: "an Ed25519 key", policies: []string{`authorities: [{key: {data: KEY-ed25519!}}]`}, admits: []string{"ed25519"}},
	{name: "a P-384 key", policies: []string{`authorities: [{key: {data: KEY-p384!}}]`},
		admits: []string{"p384-sha256"}, onlyOurs: map[string][]string{ownHash: {"p384-sha384"}}},
	{name: "a P-384 key over SHA-384", policies: []string{`authorities: [{key: {data: KEY-p384!, hashAlgorithm: sha384}}]`},
		admits: []string{"p384-sha384"}},
	{name: "a P-384 key over SHA-256", policies: []string{`authorities: [{key: {data: KEY-p384!, hashAlgorithm: sha256}}]`}, admits: []string{"p384-sha256"}},
	{name: "a P-521 key over SHA-512", policies: []string{`authorities: [{key: {data: KEY-p521!, hashAlgorithm: sha512}}]`}, admits: []string{"p521-sha512"}},
	{name: "a P-256 key over SHA-512", policies: []string{`authorities: [{key: {data: KEY-p256!, hashAlgorithm: sha512}}]`}, admits: []string{"p256-sha512"}},

	{name: "an attestation", policies: []string{`authorities: [{` + aliceKeys + `, attestations: [{name: scan, predicateType: ` + vulnType + `}]}]`},
		admits: everyScan, onlyOurs: map[string][]string{bothForms: {"bundle-scan"}}},
	{name: "an attestation by its short type", policies: []string{`authorities: [{` + aliceKeys + `, attestations: [{name: scan, predicateType: vuln}]}]`},
		admits: everyScan, onlyOurs: map[string][]string{bothForms: {"bundle-scan"}}},
	{name: "an attestation and Rego", policies: []string{`authorities: [{` + aliceKeys + `, attestations: [{name: scan, predicateType: ` + vulnType + `, ` + clean + `}]}]`},
		admits: cleanScans, onlyOurs: map[string][]string{bothForms: {"bundle-scan"}}},
	{name: "an attestation and CUE", policies: []string{`authorities: [{` + aliceKeys + `, attestations: [{name: scan, predicateType: ` + vulnType + `, ` + cleanCUE + `}]}]`},
		admits: cleanScans, onlyOurs: map[string][]string{bothForms: {"bundle-scan"}}},
	{name: "two attestations", policies: []string{`authorities: [{` + aliceKeys + `, attestations: [{name: scan, predicateType: ` + vulnType + `}, {name: built, predicateType: "https://slsa.dev/provenance/v1"}]}]`},
		admits: []string{"provenance-and-scan"}},
	{name: "an attestation by a key", policies: []string{`authorities: [{key: {data: KEY-p256!}, attestations: [{name: scan, predicateType: ` + vulnType + `, ` + clean + `}]}]`}, admits: []string{"scan-by-key"}},
	{name: "a signature and an attestation, each of its own policy", policies: []string{`authorities: [{` + aliceKeys + `}]`, `authorities: [{` + aliceKeys + `, attestations: [{name: scan, predicateType: ` + vulnType + `}]}]`},
		admits: []string{"signed-and-scanned"}},
	{name: "a predicate of the whole policy", policies: []string{`authorities: [{name: a, ` + aliceKeys + `}, {name: b, ` + bobKeys + `}]
policy: {type: rego, data: "package sigstore\ndefault isCompliant = false\nisCompliant { input.authorityMatches.a.signatures\n input.authorityMatches.b.signatures }"}`},
		admits: []string{"alice-and-bob"}},
	{name: "a predicate of the whole policy, in CUE", policies: []string{`authorities: [{name: a, ` + aliceKeys + `}, {name: s, ` + aliceKeys + `, attestations: [{name: scan, predicateType: ` + vulnType + `}]}]
policy: {type: cue, data: "import \"list\"\nimport \"struct\"\nauthorityMatches: {a: signatures: list.MinItems(1), s: attestations: struct.MinFields(1)}"}`},
		admits: []string{"signed-and-scanned"}, onlyTheirs: map[string][]string{openCUE: {
			"alice", "alice-logged", "mallory-then-alice", "alice-and-bob", "index", "scan-clean", "scan-critical", "scans-of-both-kinds", "provenance-and-scan",
		}}},
	{name: "a predicate on the signer", policies: []string{`authorities: [{name: a, keyless: {trustRootRef: test, identities: [{issuer: ISSUER, subjectRegExp: "^.*$"}]}, ` + log + `}]
policy: {type: rego, data: "package sigstore\ndefault isCompliant = false\nisCompliant { input.authorityMatches.a.signatures[_].subject == \"bob@acme.example\" }"}`},
		admits: []string{"bob", "alice-and-bob"}},
	{name: "a predicate on the configuration", policies: []string{`authorities: [{name: a, ` + aliceKeys + `}]
policy: {type: rego, fetchConfigFile: true, data: "package sigstore\ndefault isCompliant = false\nisCompliant { input.config[\"linux/arm64\"].architecture == \"arm64\" }"}`},
		admits: []string{"index"}},

	{name: "static pass", policies: []string{`authorities: [{static: {action: pass}}]`}, admits: []string{"*"}},
	{name: "static fail", policies: []string{`authorities: [{static: {action: fail, message: "closed"}}]`}},
	{name: "static fail or a signature", policies: []string{`authorities: [{static: {action: fail}}, {` + bobKeys + `}]`}, admits: []string{"bob", "alice-and-bob"}},
	{name: "static pass and a policy", policies: []string{`authorities: [{static: {action: pass}}]`, `authorities: [{` + bobKeys + `}]`}, admits: []string{"bob", "alice-and-bob"}},
	{name: "a policy that warns", policies: []string{`mode: warn
authorities: [{static: {action: fail}}]`}, admits: []string{"*"}, answer: warned},
	{name: "one that warns and one that enforces", policies: []string{"mode: warn\nauthorities: [{static: {action: fail}}]", `authorities: [{` + aliceKeys + `}]`},
		admits: legacyByAlice, answer: warned, onlyOurs: map[string][]string{bothForms: bundlesByAlice}},

	{name: "several globs", policies: []string{"images: [{glob: REGISTRY/acme/static*}, {glob: REGISTRY/acme/bo*}, {glob: REGISTRY/**/mallory*}]\nauthorities: [{static: {action: pass}}]"},
		admits: []string{"bob", "mallory", "mallory-then-alice"}},
	{name: "a glob within a component", policies: []string{"images: [{glob: REGISTRY/*/unsigned*}]\nauthorities: [{static: {action: pass}}]"}, admits: []string{"unsigned"}},
	{name: "a glob above components", policies: []string{"images: [{glob: REGISTRY/*}]\nauthorities: [{static: {action: pass}}]"}},
	{name: "a repository and no more", policies: []string{"images: [{glob: REGISTRY/acme/bob}]\nauthorities: [{static: {action: pass}}]"}, onlyOurs: map[string][]string{wholeGlobs: {"bob"}}},

	{name: "another repository", policies: []string{`authorities: [{` + aliceKeys + `, source: [{oci: REGISTRY/evidence}]}]`}, admits: []string{"in-another-repository"}},
	{name: "another tag", policies: []string{`authorities: [{` + aliceKeys + `, source: [{tagPrefix: acme-}]}]`}, admits: []string{"under-another-tag"}, onlyOurs: map[string][]string{bothForms: bundlesByAlice}},
	{name: "legacy", policies: []string{`authorities: [{` + aliceKeys + `, signatureFormat: legacy}]`}, admits: legacyByAlice},
	{name: "bundles", policies: []string{`authorities: [{` + aliceKeys + `, signatureFormat: bundle}]`}, onlyOurs: map[string][]string{onlyBundles: bundlesByAlice}},
	{name: "bundles of a key", policies: []string{`authorities: [{key: {data: KEY-p256!}, ` + log + `, signatureFormat: bundle}]`}, onlyOurs: map[string][]string{onlyBundles: {"bundle-by-key"}}},
	{name: "attestations in bundles", policies: []string{`authorities: [{` + stampedAlice + `, signatureFormat: bundle, attestations: [{name: scan, predicateType: ` + vulnType + `, ` + clean + `}]}]`},
		admits: []string{"bundle-scan"}},
	{name: "attestations in bundles and a log", policies: []string{`authorities: [{` + aliceKeys + `, signatureFormat: bundle, attestations: [{name: scan, predicateType: ` + vulnType + `}]}]`},
		onlyOurs: map[string][]string{onlyBundles: {"bundle-scan"}}},
	{name: "a bundle's signature as an attestation", policies: []string{`authorities: [{` + stampedAlice + `, signatureFormat: bundle, attestations: [{name: signed, predicateType: "https://sigstore.dev/cosign/sign/v1"}]}]`},
		admits: []string{"bundle", "bundle-rekor-v2"}},
	{name: "a log of Rekor v2", policies: []string{`authorities: [{keyless: {trustRootRef: modern, identities: [{issuer: ISSUER, subject: alice@acme.example}]}, ctlog: {url: "https://log2025.touchmark.example", trustRootRef: modern}}]`},
		onlyOurs: map[string][]string{rekorV2: {"bundle-rekor-v2"}}},
}

// text is the file of an exchange: the trust roots and all policies.
func (e exchange) text(tb testing.TB, x *exhibits) string {
	tb.Helper()
	documents := x.trustRoots(tb)
	for i, spec := range e.policies {
		if !strings.Contains(spec, "images:") {
			spec = "images: [{glob: REGISTRY/acme/**}]\n" + spec
		}
		documents = append(documents, fmt.Sprintf("apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p%d}\nspec:\n  %s", i, strings.ReplaceAll(spec, "\n", "\n  ")))
	}
	return x.replacePolicy.Replace(strings.Join(documents, "\n---\n"))
}

// want is what an image must get, from ours and from policy-controller, and where they differ the row of the documentation that says so.
func (e exchange) want(image string) (ours, theirs, differs string) {
	ours, theirs = refused, refused
	if slices.Contains(e.admits, image) || slices.Contains(e.admits, "*") {
		ours, theirs = admitted, admitted
		if e.answer != "" {
			ours, theirs = e.answer, e.answer
		}
	}
	for row, images := range e.onlyOurs {
		if slices.Contains(images, image) {
			ours, differs = admitted, row
			if e.answer != "" {
				ours = e.answer
			}
		}
	}
	for row, images := range e.onlyTheirs {
		if slices.Contains(images, image) {
			theirs, differs = admitted, row
		}
	}
	return ours, theirs, differs
}

// newGate is our gate with a policy file.
func newGate(tb testing.TB, text string) (*gate.Gate, error) {
	tb.Helper()
	set, err := policy.Parse(tb.Context(), []byte(text), policy.Options{Evaluators: map[string]policy.Evaluator{"rego": rego.New(), "cue": cue.New()}})
	if err != nil {
		return nil, err
	}
	return gate.New(gate.Config{Policy: set})
}

// askGate is our gate's answer about an image that lies under its own name.
func (x *exhibits) askGate(ctx context.Context, g *gate.Gate, image string) (answer, why string) {
	digest := x.images[image]
	req := gate.Request{Repository: attach.LogicalName(digest.Context()), ParentsKnown: true, Source: attach.Source{Repository: digest.Context()}}
	var err error
	if req.Digest, err = v1.NewHash(digest.DigestStr()); err != nil {
		return "", err.Error()
	}
	v := g.Admit(ctx, req)
	why = fmt.Sprintf("%s: %s", v.Code, v.Reason)
	for _, s := range v.Signatures {
		for _, a := range s.Attempts {
			why += fmt.Sprintf("; %s", a.Reason)
		}
	}
	switch {
	case v.Admitted() && v.Code == gate.CodeObserved:
		return warned, why
	case v.Admitted():
		return admitted, why
	}
	return refused, why
}

// TestPolicyController holds our gate and policy-controller's webhook against what a person wrote down: which of the exhibits each policy admits.
func TestPolicyController(t *testing.T) {
	x := newExhibits(t)
	verdicts, differences := 0, 0
	for _, e := range exchanges {
		text := e.text(t, x)
		g, err := newGate(t, text)
		if err != nil {
			t.Errorf("%s: ours: %v", e.name, err)
			continue
		}
		c, err := newController(t, text)
		if err != nil {
			t.Errorf("%s: policy-controller: %v", e.name, err)
			continue
		}
		for _, list := range append([][]string{e.admits}, append(values(e.onlyOurs), values(e.onlyTheirs)...)...) {
			for _, image := range list {
				if _, ok := x.images[image]; !ok && image != "*" {
					t.Errorf("%s: there is no image %q", e.name, image)
				}
			}
		}
		for _, image := range x.names {
			wantOurs, wantTheirs, differs := e.want(image)
			ours, why := x.askGate(t.Context(), g, image)
			if ours != wantOurs {
				t.Errorf("%s: %s: %s, want %s (%s)", e.name, image, ours, wantOurs, why)
			}
			theirs, why := c.admit(x.images[image].String())
			if theirs != wantTheirs {
				t.Errorf("%s: %s: policy-controller: %s, want %s (%s)", e.name, image, theirs, wantTheirs, why)
			}
			verdicts++
			if differs != "" {
				differences++
			}
		}
	}
	t.Logf("%d policies, %d images, %d verdicts of each, %d of them different on purpose", len(exchanges), len(x.names), verdicts, differences)
	if len(exchanges) < 40 || verdicts < 1000 {
		t.Errorf("%d policies and %d verdicts are too few", len(exchanges), verdicts)
	}
}

func values(m map[string][]string) (all [][]string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

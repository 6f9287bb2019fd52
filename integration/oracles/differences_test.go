package oracles

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shownElsewhere says where a documented difference is shown, or why it can't be, if no exchange shows it.
var shownElsewhere = map[string]string{
	"no policy is about the image":                       "TestPolicyController, a glob above components: by default both refuse",
	"globs with a tag or digest":                         "TestRefusedPolicies",
	"`*/*`, `*`":                                         "TestGlobs",
	"names of Docker Hub":                                "TestGlobs",
	"`keyless.url`":                                      "TestRefusedPolicies",
	"`keyless.ca-cert`":                                  "TestRefusedPolicies",
	"signatures by keys over a weak hash (`sha224`)":     "TestRefusedPolicies",
	"empty lists of authorities":                         "TestRefusedPolicies",
	"`match`, secrets, config maps, a resource's fields": "TestRefusedPolicies",
	"Rego":                           "TestPredicates",
	"keyless without `trustRootRef`": "policy-controller would ask the public-good instance's TUF repository, which no test does",
	"`TrustRoot` with `remote` or `repository`": "policy-controller would ask a TUF repository: its reconciler does that, in a cluster",
	"`status`, other `metadata`":                "no verdict depends on them",
}

// cannotSpeak are the kinds of rows on which policy-controller has no verdict to compare with.
var cannotSpeak = map[string]string{
	"Enforcement":                   "the kind is ours: default action, index rule, witnesses, age, revocations, exceptions, pins, OpenPGP signers",
	"signatures in bundles":         `"bundle support for image signatures is not yet implemented" (cosign 2.5, VerifyImageSignatures)`,
	"evidence of an index":          "a pod names one digest; that the index above it is signed is nothing policy-controller looks at",
	"undecided":                     "policy-controller has no third answer: what it could not ask it refuses",
	"KMS":                           "the reconciler resolves keys in a cluster, before the webhook sees them",
	"remote predicates":             "the reconciler fetches them, before the webhook sees them",
	"the public-good trust root":    "needs the network",
	"pull secrets and config maps":  "a cluster's",
	"requests, caching and outages": "no verdict says anything of them",
}

// Each row of the documentation is shown by a test, and each difference that a test shows is in the documentation.
func TestDocumentedDifferences(t *testing.T) {
	documented := documentedDifferences(t)
	shown := make(map[string]bool)
	for _, e := range exchanges {
		for row := range e.onlyOurs {
			shown[row] = true
		}
		for row := range e.onlyTheirs {
			shown[row] = true
		}
	}
	for row := range shownElsewhere {
		if shown[row] {
			t.Errorf("an exchange shows %q, which is said to be shown elsewhere", row)
		}
		shown[row] = true
	}
	for _, row := range documented {
		if !shown[row] {
			t.Errorf("docs/policy.md has a row %q, which nothing shows", row)
		}
	}
	for row := range shown {
		if !slices.Contains(documented, row) {
			t.Errorf("docs/policy.md has no row %q", row)
		}
	}
	for kind, why := range cannotSpeak {
		t.Logf("policy-controller cannot speak on %s: %s", kind, why)
	}
}

// documentedDifferences are the first columns of the table "Where policy-controller differs" in docs/policy.md.
func documentedDifferences(tb testing.TB) (rows []string) {
	tb.Helper()
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		tb.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "## Where policy-controller differs")
	if !found {
		tb.Fatal("docs/policy.md does not say where policy-controller differs")
	}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| [^|]+ \| [^|]+ \|$`).FindAllStringSubmatch(table, -1) {
		rows = append(rows, m[1])
	}
	return rows
}

// Policies that one of the two refuses to read. What policy-controller makes of them is the verdict on an image.
func TestRefusedPolicies(t *testing.T) {
	x := newExhibits(t)
	caCert := strings.ReplaceAll(string(pemChain(x.test.CA.Intermediate, x.test.CA.Root)), "\n", "\\n")
	for _, tt := range []struct {
		row, spec string
		ours      string // a part of our error
		theirs    string // a part of policy-controller's error; "" if it reads it
		image     string // that policy-controller is asked about then
		answer    string
	}{
		{"globs with a tag or digest", "images: [{glob: \"REGISTRY/acme/alice:1\"}]\nauthorities: [{static: {action: pass}}]", "names a tag", "", "alice", refused},
		{"globs with a tag or digest", "images: [{glob: \"REGISTRY/acme/alice@sha256:*\"}]\nauthorities: [{static: {action: pass}}]", "names a digest", "", "alice", admitted},
		{"`keyless.url`", `authorities: [{keyless: {url: "https://nobody.example", trustRootRef: test, identities: [{issuer: ISSUER, subject: alice@acme.example}]}, ` + log + `}]`,
			"is no certificate authority of the trust root", "", "alice", admitted},
		{"`keyless.ca-cert`", `authorities: [{keyless: {ca-cert: {data: "` + caCert + `"}, trustRootRef: test, identities: [{issuer: ISSUER, subject: alice@acme.example}]}, ` + log + `}]`,
			"", "ca-cert", "", ""},
		{"signatures by keys over a weak hash (`sha224`)", `authorities: [{key: {data: KEY-p256!, hashAlgorithm: sha224}}]`, `"sha224"`, "", "p256-sha224", admitted},
		{"empty lists of authorities", `authorities: []`, "authorities", "missing field(s): spec.authorities", "", ""},
		{"`match`, secrets, config maps, a resource's fields", "match: [{resource: pods, version: v1}]\nauthorities: [{static: {action: pass}}]", "match", "", "alice", refused},
		{"`match`, secrets, config maps, a resource's fields", "authorities: [{" + aliceKeys + "}]\npolicy: {type: rego, includeSpec: true, data: \"package sigstore\\nisCompliant { input.spec }\"}",
			"includeSpec", "", "alice", admitted},
	} {
		if !slices.Contains(documentedDifferences(t), tt.row) {
			t.Errorf("docs/policy.md has no row %q", tt.row)
		}
		text := exchange{policies: []string{tt.spec}}.text(t, x)
		if _, err := newGate(t, text); (err == nil) != (tt.ours == "") || err != nil && !strings.Contains(err.Error(), tt.ours) {
			t.Errorf("%s: ours: error %v, want one with %q", tt.row, err, tt.ours)
		}
		c, err := newController(t, text)
		if (err == nil) != (tt.theirs == "") || err != nil && !strings.Contains(err.Error(), tt.theirs) {
			t.Errorf("%s: policy-controller: error %v, want one with %q", tt.row, err, tt.theirs)
		}
		if err != nil || tt.image == "" {
			continue
		}
		if answer, why := c.admit(x.images[tt.image].String()); answer != tt.answer {
			t.Errorf("%s: policy-controller: %s: %s, want %s (%s)", tt.row, tt.image, answer, tt.answer, why)
		}
	}
}

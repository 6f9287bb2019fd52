package native_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/podman/native"
	"github.com/touchmark/touchmark/podman/policyjson"
)

const head = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
`

const site = `---
apiVersion: touchmark.dev/v1alpha1
kind: Enforcement
metadata: {name: site}
spec:
`

const images = "  images: [{glob: registry.example/app}, {glob: registry.example/app/**}]\n"

// publicKey is a PEM key in a YAML text, on one line.
func publicKey(t *testing.T, curve elliptic.Curve) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return `"` + strings.ReplaceAll(string(text), "\n", `\n`) + `"`
}

func parse(t *testing.T, text string) *policy.Set {
	t.Helper()
	set, err := policy.Parse(t.Context(), []byte(text), policy.Options{Evaluators: map[string]policy.Evaluator{"rego": evaluator{}}})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return set
}

// TestPOD06_EveryFieldIsCompiledOrRefused goes through the fields of
// ClusterImagePolicy and Enforcement.
func TestPOD06_EveryFieldIsCompiledOrRefused(t *testing.T) {
	s := coretest.New(t)
	root := s.TrustedRoot(t)
	unlimited := named(root)
	root.CertificateAuthorities = slices.Clone(root.CertificateAuthorities)
	for i := range root.CertificateAuthorities {
		ca := &root.CertificateAuthorities[i]
		issuing := *ca.Intermediates[0]
		issuing.MaxPathLen, issuing.MaxPathLenZero = 0, true
		ca.Intermediates = []*x509.Certificate{&issuing}
	}
	p256, p384 := publicKey(t, elliptic.P256()), publicKey(t, elliptic.P384())
	key := "  authorities: [{name: key, key: {data: " + p256 + "}}]\n"
	email := `{issuer: "https://login.example", subject: "release@acme.example"}`
	keyless := func(fields string) string {
		return "  authorities: [{name: ci, keyless: {identities: [" + email + "], insecureIgnoreSCT: true}" + fields + "}]\n"
	}
	with := func(fields string) string {
		return "  authorities: [{name: key, key: {data: " + p256 + "}, " + fields + "}]\n"
	}
	ca := strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.CertificateAuthorities[0].Root.Raw})), "\n", `\n`)
	for _, c := range []struct {
		name, text string
		want       string // of the error; "" if it is compiled
		types      string // of the requirements
	}{
		{"key.data", images + key, "", "sigstoreSigned"},
		{"two keys", images + "  authorities: [{key: {data: " + p256 + "}}, {key: {data: " + publicKey(t, elliptic.P256()) + "}}]\n", "", "sigstoreSigned"},
		{"key.data P-384", images + "  authorities: [{name: key, key: {data: " + p384 + "}}]\n", "authority key: key: policy.json verifies with SHA-256", ""},
		{"key.hashAlgorithm", images + "  authorities: [{name: key, key: {data: " + p256 + ", hashAlgorithm: sha512}}]\n", "authority key: key: policy.json verifies with SHA-256", ""},
		{"ctlog", images + with("ctlog: {}"), "", "sigstoreSigned"},
		{"ctlog.url", images + with("ctlog: {url: 'https://other.example'}"), "authority key: ctlog: trust root private has no log", ""},
		{"ctlog.trustRootRef", images + with("ctlog: {trustRootRef: other}"), `ctlog.trustRootRef: there is no trust root "other"`, ""},
		{"logs that differ", images + "  authorities: [{key: {data: " + p256 + "}}, {name: b, ctlog: {}, key: {data: " + p256 + "}}]\n", "authority b: ctlog: policy.json demands the same log", ""},
		{"rfc3161timestamp", images + with("rfc3161timestamp: {trustRootRef: private}"), "authority key: rfc3161timestamp", ""},
		{"signatureFormat legacy", images + with("signatureFormat: legacy"), "", "sigstoreSigned"},
		{"signatureFormat bundle", images + with("signatureFormat: bundle"), "authority key: signatureFormat", ""},
		{"source", images + with("source: [{oci: registry.example/signatures}]"), "authority key: source", ""},
		{"attestations", images + with("attestations: [{name: p, predicateType: slsaprovenance1}]"), "authority key: attestations", ""},
		{"keyless", images + keyless(""), "", "sigstoreSigned"},
		{"keyless with SCT", images + "  authorities: [{name: ci, keyless: {identities: [" + email + "]}}]\n", "authority ci: keyless.insecureIgnoreSCT", ""},
		{"keyless.identities two", images + "  authorities: [{name: ci, keyless: {insecureIgnoreSCT: true, identities: [" + email + ", " + email + "]}}]\n", "keyless.identities: policy.json takes one identity", ""},
		{"keyless.subjectRegExp", images + `  authorities: [{name: ci, keyless: {insecureIgnoreSCT: true, identities: [{issuer: "https://login.example", subjectRegExp: ".*@acme\\.example"}]}}]` + "\n", "keyless.identities[0].subjectRegExp", ""},
		{"keyless.issuerRegExp", images + `  authorities: [{name: ci, keyless: {insecureIgnoreSCT: true, identities: [{issuerRegExp: "https://.*", subject: "a@acme.example"}]}}]` + "\n", "keyless.identities[0].issuerRegExp", ""},
		{"keyless.subject URI", images + `  authorities: [{name: ci, keyless: {insecureIgnoreSCT: true, identities: [{issuer: "https://login.example", subject: "https://ci.example/app@refs/heads/main"}]}}]` + "\n", "keyless.identities[0].subject: policy.json knows e-mail addresses only", ""},
		{"keyless.trustRootRef", images + "  authorities: [{name: ci, keyless: {trustRootRef: other, insecureIgnoreSCT: true, identities: [" + email + "]}}]\n", `there is no trust root "other"`, ""},
		{"keyless.url", images + "  authorities: [{name: ci, keyless: {url: 'https://other.example', insecureIgnoreSCT: true, identities: [" + email + "]}}]\n", "no certificate authority", ""},
		{"keyless.ca-cert", images + "  authorities: [{name: ci, keyless: {ca-cert: {data: \"" + ca + "\"}, insecureIgnoreSCT: true, identities: [" + email + "]}}]\n", "authority ci: keyless.ca-cert", ""},
		{"keyless with signatureFormat", images + keyless(", signatureFormat: bundle"), "authority ci: signatureFormat", ""},
		{"key or identity", images + "  authorities: [{key: {data: " + p256 + "}}, {name: ci, keyless: {insecureIgnoreSCT: true, identities: [" + email + "]}}]\n", "authority ci: spec.authorities: policy.json has alternatives among keys only", ""},
		{"identity or key", images + "  authorities: [{keyless: {insecureIgnoreSCT: true, identities: [" + email + "]}}, {name: b, key: {data: " + p256 + "}}]\n", "authority b: spec.authorities", ""},
		{"static pass", images + "  authorities: [{static: {action: pass}}]\n", "", ""},
		{"static fail", images + "  authorities: [{static: {action: fail}}]\n", "", "reject"},
		{"static fail or key", images + "  authorities: [{static: {action: fail}}, {key: {data: " + p256 + "}}]\n", "", "sigstoreSigned"},
		{"static pass or key", images + "  authorities: [{key: {data: " + p256 + "}}, {static: {action: pass}}]\n", "", ""},
		{"mode", images + "  mode: warn\n" + key, "policy release: spec.mode", ""},
		{"policy", images + "  policy: {type: rego, data: \"package sigstore\"}\n" + key, "policy release: spec.policy", ""},
		{"glob of a repository", "  images: [{glob: registry.example/app}]\n" + key, `add the glob "registry.example/app/**"`, ""},
		{"glob of a namespace", "  images: [{glob: registry.example/app/**}]\n" + key, `add the glob "registry.example/app"`, ""},
		{"glob of a registry", "  images: [{glob: registry.example/**}]\n" + key, "", "sigstoreSigned"},
		{"glob of one level", "  images: [{glob: registry.example/*}]\n" + key, "spec.images[0].glob", ""},
		{"glob within a name", "  images: [{glob: 'registry.example/a*/**'}]\n" + key, "spec.images[0].glob", ""},
		{"glob of everything", "  images: [{glob: '**'}]\n" + key, "spec.images[0].glob", ""},
		{"spec.mode", images + key + site + "  mode: observe\n", "Enforcement: spec.mode", ""},
		{"spec.unmatched.action", images + key + site + "  unmatched: {action: insecureAdmit}\n", "Enforcement: spec.unmatched.action", ""},
		{"spec.unmatched.mode", images + key + site + "  unmatched: {action: refuse, mode: observe}\n", "Enforcement: spec.unmatched.mode", ""},
		{"spec.index either", images + key + site + "  index: either\n", "", "sigstoreSigned"},
		{"spec.index platform", images + key + site + "  index: platform\n", "", "sigstoreSigned"},
		{"spec.index index", images + key + site + "  index: index\n", "Enforcement: spec.index", ""},
		{"spec.index both", images + key + site + "  index: both\n", "Enforcement: spec.index", ""},
		{"spec.maxSignatureAge", images + key + site + "  maxSignatureAge: 365d\n", "Enforcement: spec.maxSignatureAge", ""},
		{"spec.witnesses", images + key + site + "  witnesses: {quorum: 1, keys: [witness.example/w1+4f48ed1b+BGuGsnP/NPzhnWuATv9aP1dHraTqoi8dScAeUt23h1tL]}\n", "Enforcement: spec.witnesses", ""},
		{"spec.revocations", images + key + site + "  revocations: [{image: 'sha256:" + strings.Repeat("a", 64) + "', reason: x}]\n", "Enforcement: spec.revocations", ""},
		{"spec.pins", images + key + site + "  pins: [{image: 'sha256:" + strings.Repeat("a", 64) + "', reason: x, by: a, review: 2099-01-01}]\n", "Enforcement: spec.pins", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "keyless" {
				if _, err := native.Compile(parse(t, head+c.text), []*trust.Root{unlimited}); err == nil || !strings.Contains(err.Error(), "may issue further authorities") {
					t.Errorf("under an authority without a limit: error %v", err)
				}
			}
			rules, err := native.Compile(parse(t, head+c.text), []*trust.Root{named(root)})
			if c.want != "" {
				var problem *native.Error
				if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &problem) {
					t.Errorf("compiled to %+v, %v; want %q", rules, err, c.want)
				}
				return
			}
			if err != nil || len(rules) != 1 {
				t.Fatalf("%d rules, %v", len(rules), err)
			}
			for _, rule := range rules {
				var types []string
				for _, r := range rule.Requirements {
					types = append(types, r.Type)
				}
				if got := strings.Join(types, ","); got != c.types || rule.Attachments != strings.Contains(c.types, "sigstore") {
					t.Errorf("compiled to %q, attachments %v; want %q", got, rule.Attachments, c.types)
				}
			}
		})
	}
}

// named gives a root the name that errors call it by.
func named(r *trust.Root) *trust.Root {
	out := *r
	out.Name = "private"
	return &out
}

func TestScopesWithinOthersHaveBothDemands(t *testing.T) {
	one, two := publicKey(t, elliptic.P256()), publicKey(t, elliptic.P256())
	text := head + "  images: [{glob: registry.example/**}]\n  authorities: [{key: {data: " + one + "}}]\n---\n" +
		strings.Replace(head, "release", "team", 1) + "  images: [{glob: registry.example/team}, {glob: registry.example/team/**}]\n  authorities: [{key: {data: " + two + "}}]\n"
	rules, err := native.Compile(parse(t, text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules["registry.example"].Requirements) != 1 || len(rules["registry.example/team"].Requirements) != 2 {
		t.Errorf("compiled to %+v", rules)
	}
	if r := rules["registry.example"].Requirements[0]; len(r.KeyDatas) != 1 || r.Identity.Type != policyjson.MatchRepository || r.Rekor {
		t.Errorf("compiled to %+v", r)
	}
}

func TestLogsAndAuthoritiesThatEndAreLeftOut(t *testing.T) {
	root := named(coretest.New(t).TrustedRoot(t))
	text := head + images + "  authorities: [{name: key, ctlog: {}, key: {data: " + publicKey(t, elliptic.P256()) + "}}]\n"
	if _, err := native.Compile(parse(t, text), []*trust.Root{root}); err != nil {
		t.Fatal(err)
	}
	ended := *root
	ended.Logs = append([]trust.Log(nil), root.Logs...)
	for i := range ended.Logs {
		ended.Logs[i].Window.End = coretest.Start.Add(coretest.Lifetime)
	}
	if _, err := native.Compile(parse(t, text), []*trust.Root{&ended}); err == nil || !strings.Contains(err.Error(), "ctlog") {
		t.Errorf("error %v", err)
	}
}

// evaluator compiles predicates that nobody evaluates.
type evaluator struct{}

func (evaluator) Compile(context.Context, string) (policy.Program, error) { return nil, nil }

package stack

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/services/ca"
)

var (
	issuerOption = regexp.MustCompile(`(?m)^    touchmark up --oidc-issuer (\S+)$`)
	policyBlock  = regexp.MustCompile("(?s)```yaml\n(apiVersion: policy.+?)```")
)

// page is what docs/ci says about a CI system: how the server is told of it, and whom a policy then demands.
func page(t *testing.T, name string) (ca.Issuer, []*identity.Matcher) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs/ci", name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	option, block := issuerOption.FindSubmatch(text), policyBlock.FindSubmatch(text)
	if option == nil || block == nil {
		t.Fatal("the page has no --oidc-issuer, or no policy")
	}
	parsed, err := ParseIssuer(string(option[1]))
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Parse(t.Context(), block[1], policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return parsed, set.Policies[0].Authorities[0].Identities
}

// ciWorld is a stack that takes the tokens of an issuer whose key the test has.
type ciWorld struct {
	url    string
	claims map[string]any
	signer jose.Signer
}

func newCIWorld(t *testing.T, name string, outside ca.Issuer) ciWorld {
	t.Helper()
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	outside.Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "ci", Algorithm: "RS256", Use: "sig"}}}
	config := testConfig(t)
	config.Issuers = []ca.Issuer{outside}
	s := start(t, config)
	options := (&jose.SignerOptions{}).WithHeader("kid", "ci").WithType("JWT")
	w := ciWorld{url: serve(t, s), signer: must(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options))}
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join("testdata/ci", name+".json"))), &w.claims); err != nil {
		t.Fatal(err)
	}
	return w
}

// certified is whom the certificate names that a job gets for its token, with some claims changed; nil removes one.
func (w ciWorld) certified(t *testing.T, changes map[string]any) (identity.Identity, error) {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iat": now, "nbf": now, "exp": now + 300}
	for _, from := range []map[string]any{w.claims, changes} {
		for name, value := range from {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
	}
	token := must(must(w.signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
	subject, _ := claims["sub"].(string)
	certificate, err := certify(t.Context(), w.url, token, subject)
	if err != nil {
		return identity.Identity{}, err
	}
	return identity.FromCertificate(certificate)
}

// The tokens that CI systems make, as their manuals show them, get certificates that the policies in docs/ci are about, with Fulcio's extensions.
func TestCISystems(t *testing.T) {
	const commit = "9f3e5c1d7a2b4c6d8e0f1a2b3c4d5e6f7a8b9c0d"
	for _, tt := range []struct {
		name, san  string
		extensions identity.Extensions
		others     []map[string]any // tokens of somebody else, who gets another name
		refused    []map[string]any
	}{
		{
			name: "github", san: "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2.0",
			extensions: identity.Extensions{
				BuildSignerURI:                  "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2.0",
				BuildSignerDigest:               commit,
				RunnerEnvironment:               "self-hosted",
				SourceRepositoryURI:             "https://github.com/acme/app",
				SourceRepositoryDigest:          commit,
				SourceRepositoryRef:             "refs/tags/v1.2.0",
				SourceRepositoryIdentifier:      "74",
				SourceRepositoryOwnerURI:        "https://github.com/acme",
				SourceRepositoryOwnerIdentifier: "65",
				BuildConfigURI:                  "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2.0",
				BuildConfigDigest:               commit,
				BuildTrigger:                    "push",
				RunInvocationURI:                "https://github.com/acme/app/actions/runs/8001/attempts/2",

				SourceRepositoryVisibilityAtSigning: "private",
				TokenSubject:                        "repo:acme/app:ref:refs/tags/v1.2.0",
			},
			others: []map[string]any{
				{"job_workflow_ref": "acme/app/.github/workflows/release.yml@refs/pull/7/merge"},
				{"job_workflow_ref": "acme/app/.github/workflows/other.yml@refs/tags/v1.2.0"},
				{"job_workflow_ref": "evil/app/.github/workflows/release.yml@refs/tags/v1.2.0"},
			},
			refused: []map[string]any{
				{"job_workflow_ref": nil}, {"sha": nil}, {"repository": nil}, {"run_id": ""}, {"workflow_ref": 7.5},
				{"job_workflow_ref": "../acme/app/x.yml@refs/heads/main"},
				{"job_workflow_ref": "acme/app/x.yml@refs/heads/a#b"},
				{"job_workflow_ref": "acme/app/x.yml@refs/heads/a%2fb"},
				{"job_workflow_ref": "acme/app/x.yml@refs/heads/\u00e4"},
				{"sub": nil}, {"aud": "https://github.com/acme"}, {"iss": "https://github.com"},
			},
		},
		{
			name: "gitlab", san: "https://gitlab.acme.example/acme/app//.gitlab-ci.yml@refs/heads/main",
			extensions: identity.Extensions{
				BuildSignerURI:                  "https://gitlab.acme.example/acme/app//.gitlab-ci.yml@refs/heads/main",
				BuildSignerDigest:               "714a629c0b401fdce83e847fc9589983fc6f46bc",
				RunnerEnvironment:               "self-hosted",
				SourceRepositoryURI:             "https://gitlab.acme.example/acme/app",
				SourceRepositoryDigest:          "714a629c0b401fdce83e847fc9589983fc6f46bc",
				SourceRepositoryRef:             "refs/heads/main",
				SourceRepositoryIdentifier:      "20",
				SourceRepositoryOwnerURI:        "https://gitlab.acme.example/acme",
				SourceRepositoryOwnerIdentifier: "72",
				BuildConfigURI:                  "https://gitlab.acme.example/acme/app//.gitlab-ci.yml@refs/heads/main",
				BuildConfigDigest:               "714a629c0b401fdce83e847fc9589983fc6f46bc",
				BuildTrigger:                    "push",
				RunInvocationURI:                "https://gitlab.acme.example/acme/app/-/jobs/302",

				SourceRepositoryVisibilityAtSigning: "internal",
				DeploymentEnvironment:               "production",
				TokenSubject:                        "project_path:acme/app:ref_type:branch:ref:main",
			},
			others: []map[string]any{
				{"ci_config_ref_uri": "gitlab.acme.example/acme/app//.gitlab-ci.yml@refs/heads/feature"},
				{"ci_config_ref_uri": "gitlab.acme.example/evil/app//.gitlab-ci.yml@refs/heads/main"},
			},
			refused: []map[string]any{
				{"ci_config_ref_uri": nil}, {"ref_type": "stash"}, {"project_path": nil},
				{"ci_config_ref_uri": "evil.example/acme/app//.gitlab-ci.yml@refs/heads/main"},
				{"ci_config_ref_uri": "gitlab.acme.example.evil.example/acme/app//.gitlab-ci.yml@refs/heads/main"},
				{"ci_config_ref_uri": "gitlab.acme.example@evil.example/acme/app//.gitlab-ci.yml@refs/heads/main"},
			},
		},
		{
			name: "buildkite", san: "https://buildkite.com/acme/app",
			extensions: identity.Extensions{
				RunnerEnvironment: "self-hosted", SourceRepositoryDigest: commit, BuildTrigger: "webhook",
				RunInvocationURI: "https://buildkite.com/acme/app/builds/41#0184990a-477b-4fa8-9968-496074483cee",
				TokenSubject:     "organization:acme:pipeline:app:ref:refs/heads/main:commit:" + commit + ":step:sign",
			},
			others:  []map[string]any{{"pipeline_slug": "other"}, {"organization_slug": "evil"}},
			refused: []map[string]any{{"pipeline_slug": nil}, {"pipeline_slug": "app/"}, {"organization_slug": ".."}, {"build_number": []int{1}}},
		},
		{
			name: "tekton", san: "https://kubernetes.io/namespaces/ci/serviceaccounts/release",
			extensions: identity.Extensions{TokenSubject: "system:serviceaccount:ci:release"},
			others: []map[string]any{
				{"sub": "system:serviceaccount:dev:release", "kubernetes.io": map[string]any{"namespace": "dev", "serviceaccount": map[string]any{"name": "release"}}},
			},
			refused: []map[string]any{
				{"kubernetes.io": nil}, {"kubernetes.io": "ci"}, {"sub": "system:serviceaccount:ci:admin"}, {"sub": "alice"},
				{"kubernetes.io": map[string]any{"namespace": "ci", "serviceaccount": "release"}},
				{"sub": "system:serviceaccount:ci/x:release", "kubernetes.io": map[string]any{"namespace": "ci/x", "serviceaccount": map[string]any{"name": "release"}}},
			},
		},
		{
			name: "jenkins", san: "https://jenkins.acme.example/job/app/job/main/",
			extensions: identity.Extensions{TokenSubject: "https://jenkins.acme.example/job/app/job/main/"},
			others:     []map[string]any{{"sub": "https://jenkins.acme.example/job/app/job/feature/"}, {"sub": "https://jenkins.acme.example/job/app/job/main"}},
			refused: []map[string]any{
				{"sub": "https://evil.example/job/app/job/main/"}, {"sub": "https://jenkins.acme.example.evil.example/job/app/"}, {"sub": "https://jenkins.acme.example/"},
				{"sub": "https://jenkins.acme.example/job/my%20app/"}, {"sub": "https://jenkins.acme.example/job/app/../admin/"}, {"sub": "http://jenkins.acme.example/job/app/"},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outside, wanted := page(t, tt.name)
			w := newCIWorld(t, tt.name, outside)
			matches := func(id identity.Identity) bool {
				for _, m := range wanted {
					if m.Matches(id) {
						return true
					}
				}
				return false
			}
			who, err := w.certified(t, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := identity.Identity{SAN: identity.SAN{Kind: identity.URI, Value: tt.san}, Issuer: outside.URL, Extensions: tt.extensions}
			if diff := cmp.Diff(want, who); diff != "" {
				t.Errorf("certificate (-want +got):\n%s", diff)
			}
			if !matches(who) {
				t.Errorf("the policy in docs/ci wants somebody else than %s", who.SAN.Value)
			}
			for _, changes := range tt.others {
				who, err := w.certified(t, changes)
				if err != nil {
					t.Errorf("%v: %v", changes, err)
				} else if matches(who) {
					t.Errorf("%v: %s passes for the one that the policy wants", changes, who.SAN.Value)
				}
			}
			for _, changes := range tt.refused {
				if who, err := w.certified(t, changes); err == nil || !strings.Contains(err.Error(), "status 400") {
					t.Errorf("%v: certificate for %+v, error %v", changes, who, err)
				}
			}
		})
	}
}

// A SPIFFE issuer names workloads of its own trust domain.
func TestSPIFFE(t *testing.T) {
	outside := must(ParseIssuer("https://spire.acme.example,type=spiffe,domain=acme.example"))
	w := newCIWorld(t, "jenkins", outside)
	w.claims = map[string]any{"iss": outside.URL, "aud": []string{"sigstore"}}
	if who, err := w.certified(t, map[string]any{"sub": "spiffe://acme.example/ci/release"}); err != nil || who.SAN != (identity.SAN{Kind: identity.URI, Value: "spiffe://acme.example/ci/release"}) {
		t.Errorf("certificate for %+v, %v", who, err)
	}
	for _, id := range []string{"spiffe://evil.example/ci/release", "spiffe://acme.example", "spiffe://acme.example/", "spiffe://acme.example/ci/", "spiffe://acme.example.evil.example/x", "https://acme.example/x", "release"} {
		if who, err := w.certified(t, map[string]any{"sub": id}); err == nil {
			t.Errorf("%s: certificate for %+v", id, who)
		}
	}
}

// People are not sent to sign in where only jobs can.
func TestSignInIsForPeople(t *testing.T) {
	config := testConfig(t)
	config.Issuers = []ca.Issuer{must(ParseIssuer("https://token.actions.githubusercontent.com,type=github-workflow")), must(ParseIssuer("https://login.acme.example"))}
	services := start(t, config).signIn()
	if len(services) != 2 || services[0].URL != "https://login.acme.example" {
		t.Errorf("sign in at %+v", services)
	}
}

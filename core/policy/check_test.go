package policy

import (
	"fmt"
	"strings"
	"testing"
)

func clusterPolicy(name, glob, authorities string) string {
	return fmt.Sprintf("---\napiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: %s}\nspec: {images: [{glob: %q}], authorities: [%s]}\n", name, glob, authorities)
}

func keyless(identity string) string { return "{keyless: {identities: [{" + identity + "}]}}" }

func site(spec string) string {
	return "---\napiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nspec: " + spec + "\n"
}

// TestCheck gives each finding its cause, and a twin that has no finding.
func TestCheck(t *testing.T) {
	const good = "issuer: https://login.acme.example, subject: alice@acme.example"
	signed := clusterPolicy("p", "registry.example/acme/*", keyless(good))
	for _, tt := range []struct {
		name, text, want string // want "" is no finding
		level            Level
	}{
		{"good", signed, "", ""},
		{"any subject", clusterPolicy("p", "a.example/x", keyless(`issuer: https://login.acme.example, subjectRegExp: ".*"`)), "everybody whom the issuer knows", Warning},
		{"any subject, in other words", clusterPolicy("p", "a.example/x", keyless(`issuer: https://login.acme.example, subjectRegExp: "(?s)^.+$"`)), "everybody", Warning},
		{"escaped dots", clusterPolicy("p", "a.example/x", keyless(`issuer: https://login.acme.example, subjectRegExp: ".*@acme\\.example"`)), "", ""},
		{"loose dot", clusterPolicy("p", "a.example/x", keyless(`issuer: https://login.acme.example, subjectRegExp: ".*@acme.example"`)), "stands for any character", Warning},
		{"any issuer", clusterPolicy("p", "a.example/x", keyless(`issuerRegExp: ".*", subject: alice@acme.example`)), "every issuer", Warning},
		{"anybody on GitHub", clusterPolicy("p", "a.example/x", keyless(`issuer: "https://token.actions.githubusercontent.com", subjectRegExp: "https://github\\.com/.*"`)), "anybody on GitHub", Warning},
		{"one organisation on GitHub", clusterPolicy("p", "a.example/x", keyless(`issuer: "https://token.actions.githubusercontent.com", subjectRegExp: "https://github\\.com/acme/.*"`)), "", ""},
		{"an expression in the wrong field", clusterPolicy("p", "a.example/x", keyless(`issuer: https://login.acme.example, subject: ".*@acme.example"`)), "subjectRegExp", Warning},
		{"an issuer that is no URL", clusterPolicy("p", "a.example/x", keyless(`issuer: login.acme.example, subject: alice@acme.example`)), "issuers are URLs", Warning},
		{"no SCT", clusterPolicy("p", "a.example/x", "{keyless: {insecureIgnoreSCT: true, identities: [{"+good+"}]}}"), "certificate log", Warning},
		{"pass everything", clusterPolicy("p", "**", "{static: {action: pass}}"), "without any signature", Warning},
		{"pass a registry", clusterPolicy("p", "a.example/**", "{static: {action: pass}}"), "without any signature", Warning},
		{"pass one", clusterPolicy("p", "a.example/x", "{static: {action: pass}}"), "without any signature", Note},
		{"fail", clusterPolicy("p", "a.example/x", "{static: {action: fail}}"), "refuses every image", Note},
		{"observe", strings.Replace(signed, "spec: {", "spec: {mode: warn, ", 1), "only observes", Note},
		{"a registry as a glob", clusterPolicy("p", "registry.example", keyless(good)), "Docker Hub's official image", Warning},
		{"no repository's name", clusterPolicy("p", "a.example/-x", keyless(good)), "can never match", Warning},
		{"an unknown trust root", clusterPolicy("p", "a.example/x", "{keyless: {trustRootRef: nowhere, identities: [{"+good+"}]}}"), "nowhere", Warning},
		{"a known trust root", clusterPolicy("p", "a.example/x", "{keyless: {trustRootRef: private, identities: [{"+good+"}]}}"), "", ""},
		{"a timestamp in the place of a log", clusterPolicy("p", "a.example/x", "{rfc3161timestamp: {}, keyless: {identities: [{"+good+"}]}}"), "stolen token", Note},
		{"overlap", signed + clusterPolicy("q", "registry.example/**", keyless(good)), "must also satisfy policy q", Note},
		{"no overlap", signed + clusterPolicy("q", "registry.example/other/**", keyless(good)), "", ""},
		{"unmatched", signed + site("{unmatched: {action: insecureAdmit}}"), "admitted unseen", Warning},
		{"site observes", signed + site("{mode: observe}"), "nothing is refused", Note},
		{"exception near its end", signed + site("{exceptions: [{image: "+digestA+", reason: r, by: b, expires: 2027-06-10}]}"), "ends on 2027-06-10", Note},
		{"exception far from its end", signed + site("{exceptions: [{image: "+digestA+", reason: r, by: b, expires: 2027-07-10}]}"), "", ""},
		{"exception that has ended", signed + site("{exceptions: [{image: "+digestA+", reason: r, by: b, expires: 2027-05-10}]}"), "has ended", Note},
		{"pin to review", signed + site("{pins: [{image: "+digestA+", review: 2027-06-02}]}"), "reviewed", Note},
		{"pin of what is revoked", signed + site("{pins: [{image: "+digestA+"}], revocations: [{image: "+digestA+", reason: r}]}"), "no effect", Warning},
		{"witnesses and legacy", clusterPolicy("p", "a.example/x", "{signatureFormat: legacy, keyless: {identities: [{"+good+"}]}}") + site("{witnesses: {quorum: 1, keys: ["+testWitness+"]}}"), "never be satisfied", Warning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := Parse(t.Context(), []byte(tt.text), atJune())
			if err != nil {
				t.Fatal(err)
			}
			findings := set.Check(june, []string{"private"})
			if tt.want == "" {
				if len(findings) > 0 {
					t.Errorf("findings are %v, want none", findings)
				}
				return
			}
			if len(findings) != 1 || findings[0].Level != tt.level || !strings.Contains(findings[0].String(), tt.want) {
				t.Errorf("findings are %v, want one %s with %q", findings, tt.level, tt.want)
			}
		})
	}
}

// TestNotices: an end is announced 14, 7 and 1 day ahead, and when it has come.
func TestNotices(t *testing.T) {
	e := &Enforcement{Exceptions: []Exception{exceptionFor("", digestA)}} // ends on the 30th
	for day, want := range map[int]int{16: -1, 17: 14, 23: 14, 24: 7, 29: 7, 30: 1, 31: 0} {
		notices := e.Notices(june.AddDate(0, 0, day-1))
		switch {
		case want == -1 && len(notices) > 0, want >= 0 && (len(notices) != 1 || notices[0].Days != want):
			t.Errorf("on day %d: %v, want %d", day, notices, want)
		}
	}
}

const testWitness = "witness.example/w1+4f48ed1b+BGuGsnP/NPzhnWuATv9aP1dHraTqoi8dScAeUt23h1tL"

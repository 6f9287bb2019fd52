package podman_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/integration/situations"
	"github.com/touchmark/touchmark/podman/native"
	"github.com/touchmark/touchmark/podman/policyjson"
)

// natively is what the policies about some images of a site are compiled to; an error says what policy.json cannot express of them.
func natively(t *testing.T, site *situations.Site, about string) (native.Rule, error) {
	t.Helper()
	set := &policy.Set{Enforcement: &policy.Enforcement{}} // what the sites say beside their policies is tested with native itself
	for _, p := range site.Set(t).Policies {
		for _, glob := range p.Globs {
			if glob != about+"/*" {
				continue
			}
			// A scope of policy.json is about a name and all below it.
			wider := *p
			wider.Globs = []string{about, about + "/**"}
			set.Policies = append(set.Policies, &wider)
		}
	}
	var roots []*trust.Root
	for _, r := range site.Roots {
		root, err := trust.Load(r.Name, r.File)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
	}
	rules, err := native.Compile(set, roots)
	return rules[about], err
}

// Compiled policies admit nothing that the hand-written verdicts refuse, by containers/image's own judgement; and they admit what legacy signatures by keys admit.
func TestPOD06_SituationsNatively(t *testing.T) {
	w := situations.Build(t)
	rules, refused := make(map[string]native.Rule), make(map[string]error) // by what they are about
	scopes := &policyjson.File{Default: []policyjson.Requirement{policyjson.Plain(policyjson.Reject)}}
	namespaces := "docker:\n"
	var judged []*situations.Image
	for _, i := range w.Images {
		if i.Site.Name != "default" || i.Facts.Get("said") != "nothing" {
			continue // other sites have the same policies, and say more of them
		}
		about := w.Registry + "/" + i.Facts.Get("policy")
		if _, ok := rules[about]; !ok && refused[about] == nil {
			rule, err := natively(t, i.Site, about)
			if err != nil {
				refused[about] = err
				continue
			}
			rules[about] = rule
			if len(rule.Requirements) > 0 {
				scopes.Set("docker", about, rule.Requirements)
				namespaces += fmt.Sprintf("  %s:\n    use-sigstore-attachments: %v\n", about, rule.Attachments)
			}
		}
		if _, ok := rules[about]; ok {
			judged = append(judged, i)
		}
	}
	for about, err := range refused {
		if !strings.Contains(err.Error(), "policy ") {
			t.Errorf("%s: the error names no policy: %v", about, err)
		}
	}
	r := route{name: "lookaside", files: map[string]string{ // clients judge a platform, as there
		policyFile:     string(scopes.JSON()),
		registriesConf: fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", w.Registry),
		lookasides:     namespaces,
	}}
	admitted, kept := 0, 0
	for k, wrong := range r.judge(t, judged) {
		i := judged[k]
		want, _ := i.At(r.name)
		switch allowed := wrong == ""; {
		case allowed && want.Outcome != gate.OutcomeAdmitted:
			t.Errorf("%s: policy.json admits it, and the verdict is %s", i.Name, want.Outcome)
		case allowed:
			admitted++
		case want.Outcome == gate.OutcomeAdmitted && i.Facts.Get("form") == "legacy":
			t.Errorf("%s: a legacy signature is not accepted: %s", i.Name, wrong)
		default:
			kept++
		}
	}
	t.Logf("%d policies are compiled, %d refused by name; %d images are admitted, %d not", len(rules), len(refused), admitted, kept)
	if len(rules) < 3 || len(refused) < 10 || admitted < 1 || kept < 10 {
		t.Error("that shows little")
	}
}

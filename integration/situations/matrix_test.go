package situations

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
)

// elsewhere are codes of verdicts that no image can be brought into from
// outside, and the tests that know them.
var elsewhere = map[gate.Code]string{
	gate.CodeParentUnknown: "each enforcement point here knows the parents, or looks for them; core/gate",
	gate.CodeBadRequest:    "core/gate: it is about a mistake of the enforcement point",
	gate.CodeInternal:      "core/gate: there is no such image, or it would be put right",
	gate.CodeCancelled:     "core/gate: it is about the caller",
	gate.CodeSlowEvidence:  "core/gate: it costs 1.5 s of a processor",
	gate.CodeStaleRoot:     "core/gate, services/agent: it is about the state of a host's trust roots",
	gate.CodeNoAgent:       "core/gate/remote: no enforcement point here asks an agent that could be away",
}

// The matrix is large enough, and everything that can be said in it is said
// somewhere.
func TestMatrix(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 60 {
		t.Errorf("there are %d situations, want at least 60", len(all))
	}
	seen := make(map[string]map[string]bool) // values by fact
	codes := make(map[gate.Code]bool)
	for _, s := range all {
		codes[s.Want.Code] = true
		for _, v := range vocabulary {
			if seen[v.name] == nil {
				seen[v.name] = make(map[string]bool)
			}
			seen[v.name][s.Facts.Get(v.name)] = true
		}
	}
	for _, v := range vocabulary {
		for _, value := range append(v.others, v.usual) {
			if !seen[v.name][value] {
				t.Errorf("no situation has %s: %s", v.name, value)
			}
		}
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "verdicts.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(doc), "\n### Admitted\n")
	text, _, found2 := strings.Cut(text, "\n## `signatures")
	if !found || !found2 {
		t.Fatal("docs/verdicts.md has no tables of codes")
	}
	var documented []gate.Code
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)`").FindAllStringSubmatch(text, -1) {
		documented = append(documented, gate.Code(m[1]))
	}
	if len(documented) < 15 {
		t.Fatalf("docs/verdicts.md has the codes %v", documented)
	}
	for _, code := range documented {
		if codes[code] == (elsewhere[code] != "") {
			t.Errorf("code %s: a situation has it: %v; known to be tested elsewhere: %q", code, codes[code], elsewhere[code])
		}
	}
	for code := range codes {
		if !slices.Contains(documented, code) {
			t.Errorf("code %s is not in docs/verdicts.md", code)
		}
	}
}

// Every policy of the sites is about some situation.
func TestNoIdlePolicies(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, s := range all {
		used[s.Facts.Get("policy")] = true
	}
	files, err := siteFiles.ReadDir("sites")
	if err != nil {
		t.Fatal(err)
	}
	glob := regexp.MustCompile(`glob: "\{\{\$?\.Registry\}\}/([a-z0-9-]+)/\*"`)
	policies := map[string]bool{}
	for _, name := range names(keySpecs) { // keys.yaml has one for each
		policies[name] = true
	}
	for _, f := range files {
		text, err := siteFiles.ReadFile("sites/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range glob.FindAllStringSubmatch(string(text), -1) {
			policies[m[1]] = true
		}
		listed := slices.ContainsFunc(slices.Collect(maps.Values(sites)), func(names []string) bool {
			return slices.Contains(names, strings.TrimSuffix(f.Name(), ".yaml"))
		})
		if !listed {
			t.Errorf("no site has sites/%s", f.Name())
		}
	}
	for policy := range policies {
		if !used[policy] {
			t.Errorf("no situation is under the policy %s", policy)
		}
	}
}

// A matrix that does not keep its own rules is not read.
func TestBadMatrix(t *testing.T) {
	const good = `
- about: x
  situations:
  - name: signed
    is: it is
    facts: {signer: alice}
    admitted: admitted
    says: signed
    elsewhere:
      proxy: {because: it can't}
  - name: unsigned
    is: it is not
    like: signed
    but: {signer: nobody}
    refused: unsigned
    says: not
`
	if _, err := parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown field", "is: it is\n", "is: it is\n    si: x\n", "si"},
		{"unknown fact", "facts: {signer: alice}", "facts: {singer: alice}", "singer"},
		{"unknown value", "facts: {signer: alice}", "facts: {signer: alcie}", "alcie"},
		{"two outcomes", "admitted: admitted", "admitted: admitted\n    refused: unsigned", "two outcomes"},
		{"no outcome", "    admitted: admitted\n", "", "want a verdict"},
		{"no reason", "    says: signed\n", "", "says is missing"},
		{"no twin", "    like: signed\n    but: {signer: nobody}\n", "    facts: {signer: nobody}\n", "must be like one that is"},
		{"twin that is not there", "like: signed", "like: singed", "does not stand before it"},
		{"two differences", "but: {signer: nobody}", "but: {signer: nobody, log: v2}", "but for one fact"},
		{"no difference", "but: {signer: nobody}", "but: {signer: alice}", "is alice there too"},
		{"twin that is refused", "admitted: admitted", "refused: unsigned", "must be like one that is"},
		{"name twice", "name: unsigned", "name: signed", "stands twice"},
		{"unknown point", "proxy:", "poxy:", "poxy"},
		{"no explanation", "{because: it can't}", "{because: ''}", "no reason"},
		{"two documents", "    says: not\n", "    says: not\n---\n[]\n", "more than one"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

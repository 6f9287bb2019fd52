package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/touchmark/touchmark/core/predicate"
)

// maxPredicate bounds a predicate's program, in bytes. Rego and CUE are written
// by hand; sets of rules that people share have up to 100 KiB.
const maxPredicate = 1 << 20

// maxAttestations bounds what one authority may ask for.
const maxAttestations = 100

// clusterImagePolicy reads a document of sigstore's kind.
func (a *assembly) clusterImagePolicy(doc value) {
	f := doc.fields("apiVersion", "kind", "metadata", "spec", "status")
	p := &Policy{Name: a.name(f, "policy")}
	if spec, ok := f.require("spec"); ok {
		p.read(spec)
	}
	a.addPolicy(doc, p)
}

func (a *assembly) addPolicy(doc value, p *Policy) {
	p.where = doc.where()
	if a.out.Policies = append(a.out.Policies, p); len(a.out.Policies) == maxPolicies+1 {
		doc.fail("is one more than %d policies", maxPolicies)
	}
}

func (p *Policy) read(spec value) {
	f := spec.fields("images", "authorities", "mode", "policy", "match")
	f.onlyCluster("match")
	p.Mode = f.mode("mode", "warn")
	p.readGlobs(f)
	names := make(map[string]bool)
	for i, v := range f.requireList("authorities", maxAuthorities) {
		a := readAuthority(v)
		if a.Name == "" {
			a.Name = fmt.Sprintf("authority-%d", i) // as policy-controller names it
		}
		if names[a.Name] && f.has("policy") {
			v.fail("the name %q stands twice, and spec.policy tells authorities apart by their names", a.Name)
		}
		names[a.Name] = true
		p.Authorities = append(p.Authorities, a)
	}
	if v, ok := f.get("policy"); ok {
		p.Predicate = readPredicate(v, true)
	}
}

// mode reads a mode. Observing has another name in sigstore's documents, which
// is understood beside ours.
func (f fields) mode(name string, others ...string) Mode {
	v, ok := f.get(name)
	if !ok {
		return Enforce
	}
	if v.choice(append([]string{string(Enforce), string(Observe)}, others...)...) == string(Enforce) {
		return Enforce
	}
	return Observe
}

func (p *Policy) readGlobs(f fields) {
	for _, v := range f.requireList("images", maxGlobs) {
		glob := v.fields("glob").requireText("glob")
		if glob == "" {
			continue
		}
		pat, err := compileGlob(glob)
		if err != nil {
			value{r: v.r, node: v.node, path: v.child("glob")}.fail("%v", err)
		}
		p.Globs = append(p.Globs, glob)
		p.patterns = append(p.patterns, pat)
	}
}

// attestations reads what must have been stated about the image.
func readAttestations(f fields) []Attestation {
	var out []Attestation
	names := make(map[string]bool)
	for _, v := range f.list("attestations", maxAttestations) {
		g := v.fields("name", "predicateType", "policy")
		att := Attestation{Name: g.requireText("name")}
		if names[att.Name] {
			v.fail("the name %q stands twice in this authority", att.Name)
		}
		names[att.Name] = true
		if t, ok := g.require("predicateType"); ok {
			if text := t.text(); text != "" {
				uri, err := predicate.TypeURI(text)
				if err != nil {
					t.fail("%v%s", err, suggestion(text, predicate.Names()))
				}
				att.PredicateType = uri
			}
		}
		if pol, ok := g.get("policy"); ok {
			att.Predicate = readPredicate(pol, false)
		}
		out = append(out, att)
	}
	return out
}

// readPredicate reads and compiles a predicate. One about a whole policy may
// ask for more to look at; all of that is in a cluster only.
func readPredicate(v value, whole bool) *Predicate {
	f := v.fields("type", "data", "remote", "configMapRef", "fetchConfigFile", "includeSpec", "includeObjectMeta", "includeTypeMeta")
	for _, name := range []string{"includeSpec", "includeObjectMeta", "includeTypeMeta"} {
		switch {
		case !whole && f.has(name):
			f.refuse(name, "only spec.policy has it")
		case f.bool(name):
			f.onlyCluster(name)
		}
	}
	p := &Predicate{}
	if whole {
		p.WantsConfig = f.bool("fetchConfigFile")
	} else {
		f.refuse("fetchConfigFile", "only spec.policy has it")
	}
	f.refuse("configMapRef", "config maps are in a Kubernetes cluster only; write the program into data")
	language, ok := f.require("type")
	if !ok {
		return p
	}
	p.Language = language.choice("rego", "cue")
	switch f.exactlyOne("data", "remote", "configMapRef") {
	case "data":
		p.Source = f.text("data")
	case "remote":
		remote, _ := f.get("remote")
		p.Source = readRemote(remote)
	}
	if p.Source == "" || v.r.full() {
		return p
	}
	if len(p.Source) > maxPredicate {
		v.fail("the program has %d bytes, the limit is %d", len(p.Source), maxPredicate)
		return p
	}
	evaluator := v.r.options.Evaluators[p.Language]
	if evaluator == nil {
		language.fail("this program cannot evaluate predicates in %q", p.Language)
		return p
	}
	program, err := evaluator.Compile(v.r.ctx, p.Source)
	if err != nil {
		v.fail("%v", err)
	}
	p.program = program
	return p
}

// readRemote fetches a program that lies elsewhere. What comes over a network
// must have the digest that the policy names: it is a part of the policy.
func readRemote(v value) string {
	f := v.fields("url", "sha256sum")
	url, ok := f.require("url")
	if !ok {
		return ""
	}
	ref := url.text()
	file, local := strings.CutPrefix(ref, "file:")
	switch {
	case local:
		ref = v.r.path(strings.TrimPrefix(file, "//"))
	case !strings.HasPrefix(ref, "https://"):
		url.fail("%q begins neither with https:// nor with file:", ref)
		return ""
	}
	want := f.text("sha256sum")
	if !local {
		want = f.requireText("sha256sum")
		if want == "" {
			return ""
		}
	}
	data := url.fetch(ref)
	if got := sha256.Sum256(data); data != nil && want != "" && !strings.EqualFold(want, hex.EncodeToString(got[:])) {
		url.fail("what lies at %s has the SHA-256 digest %x, not %s", ref, got, want)
		return ""
	}
	return string(data)
}

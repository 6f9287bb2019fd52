package gate_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// TestBadRequests: what cannot be a question is not answered, and nothing is
// asked for it.
func TestCTRD02_A083_BadRequests(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	w.wire.count()
	good := w.request(t, w.image)
	digest := func(algorithm, hex string) func(*gate.Request) {
		return func(r *gate.Request) { r.Digest = v1.Hash{Algorithm: algorithm, Hex: hex} }
	}
	hex := good.Digest.Hex
	for name, change := range map[string]func(*gate.Request){
		"nothing":              func(r *gate.Request) { *r = gate.Request{} },
		"no digest":            func(r *gate.Request) { r.Digest = v1.Hash{} },
		"no hexadecimals":      digest("sha256", ""),
		"short":                digest("sha256", hex[:62]),
		"capitals":             digest("sha256", strings.ToUpper(hex)),
		"path":                 digest("sha256", "../"+hex[3:]),
		"NUL":                  digest("sha256", "\x00"+hex[1:]),
		"SHA-512":              digest("sha512", hex+hex),
		"MD5":                  digest("md5", hex[:32]),
		"no repository":        func(r *gate.Request) { r.Repository = "" },
		"repository with tag":  func(r *gate.Request) { r.Repository += ":v1" },
		"with digest":          func(r *gate.Request) { r.Repository += "@" + r.Digest.String() },
		"not normal":           func(r *gate.Request) { r.Repository = "busybox" },
		"another Docker Hub":   func(r *gate.Request) { r.Repository = "index.docker.io/library/busybox" },
		"repository with dots": func(r *gate.Request) { r.Repository = "registry.example/../acme/app" },
		"capital letters":      func(r *gate.Request) { r.Repository = "registry.example/ACME/app" },
		"line break":           func(r *gate.Request) { r.Repository += "\n" },
		"nine parents":         func(r *gate.Request) { r.Parents = make([]v1.Hash, 9) },
		"malformed parent":     func(r *gate.Request) { r.Parents = []v1.Hash{{Algorithm: "sha256", Hex: "x"}} },
	} {
		req := good
		change(&req)
		v := w.gate.Admit(context.Background(), req)
		if v.Outcome != gate.OutcomeUndecided || v.Code != gate.CodeBadRequest || v.Admitted() || v.Reason == "" {
			t.Errorf("%s: %s, %s (%s)", name, v.Outcome, v.Code, v.Reason)
		}
		if n := w.wire.count(); n != 0 {
			t.Errorf("%s: %d requests, want none", name, n)
		}
	}
	require(t, "good", w.gate.Admit(t.Context(), good), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// TestLIB37_Config: a gate without rules, or with rules that say two things,
// does not come to be.
func TestLIB37_LIB44_Config(t *testing.T) {
	w := newWorld(t, release)
	another := *w.root
	another.Name = "another"
	twin := another
	for _, tt := range []struct {
		name   string
		config gate.Config
		want   string // in the error
	}{
		{"nothing", gate.Config{}, "no policy"},
		{"empty set", gate.Config{Policy: &policy.Set{}, Roots: []*trust.Root{w.root}}, "no policy"},
		{"no root", gate.Config{Policy: parse(t, release)}, "trustRootRef"},
		{"another root", gate.Config{Policy: parse(t, release), Roots: []*trust.Root{&another}}, "trustRootRef"},
		{"two roots of one name", gate.Config{Policy: parse(t, release), Roots: []*trust.Root{w.root, &another, &twin}}, "another"},
		{"which of two roots", gate.Config{Policy: parse(t, strings.Replace(release, "      trustRootRef: test\n", "", 1)), Roots: []*trust.Root{w.root, &another}}, "trustRootRef"},
		{"unknown authority's URL", gate.Config{Policy: parse(t, strings.Replace(release, "trustRootRef: test", "trustRootRef: test\n      url: https://evil.example", 1)), Roots: []*trust.Root{w.root}}, "keyless.url"},
		{"unknown log's URL", gate.Config{Policy: parse(t, strings.Replace(release, "    keyless:", "    ctlog: {url: https://evil.example, trustRootRef: test}\n    keyless:", 1)), Roots: []*trust.Root{w.root}}, "ctlog.url"},
	} {
		if _, err := gate.New(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error is %v, want one that names %q", tt.name, err, tt.want)
		}
	}
	if err := w.gate.Reload(nil, nil); err == nil {
		t.Error("a reload without policies succeeds")
	}
	w.signAs(t, w.image, alice)
	require(t, "after a reload that failed", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// TestPX35_HostileText: what a bundle says is cut and made printable.
func TestPX35_HostileText(t *testing.T) {
	w := newWorld(t, release)
	const evil = "x\\n\\u001b[31m\\u202e"
	w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Identity: alice, PredicateType: evil + strings.Repeat("x", 500_000)}))
	v := w.admit(t, w.image)
	require(t, "hostile text", v, gate.OutcomeRefused, gate.CodeAttestationOnly)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 32<<10 {
		t.Errorf("the verdict has %d bytes", len(text))
	}
	attempt := v.Signatures[0].Attempts[0]
	shown := []string{v.Reason, attempt.Reason}
	for _, c := range attempt.Checks {
		shown = append(shown, c.Value, c.Want)
	}
	for _, s := range shown {
		if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the verdict holds what is not printable: %q", s)
		}
	}
}

// What was found with one person's credentials is not told to another.
func TestPOD13_VerdictsAreNotShared(t *testing.T) {
	w := newWorld(t, release)
	w.attach(t, w.image, w.sign(t, w.image, coretest.SignOptions{Identity: alice}))
	for _, step := range []struct {
		as     string
		cached bool
	}{{"", false}, {"alice", false}, {"alice", true}, {"bob", false}, {"", true}} {
		req := w.request(t, w.image)
		req.Source.As = step.as
		if v := w.gate.Admit(t.Context(), req); !v.Admitted() || v.Cached != step.cached {
			t.Errorf("as %q: %s, cached is %v, want %v", step.as, v.Reason, v.Cached, step.cached)
		}
	}
}

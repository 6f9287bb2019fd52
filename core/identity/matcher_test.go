package identity

import (
	"strings"
	"testing"
)

func matcher(tb testing.TB, s Spec) *Matcher {
	tb.Helper()
	m, err := NewMatcher(s)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// TestLIB20_RegExpsAreAnchored holds each expression against text that matches
// it as a whole, and text of which it matches a part only.
func TestLIB20_RegExpsAreAnchored(t *testing.T) {
	for _, tt := range []struct {
		re      string
		yes, no []string
	}{
		{re: `alice@acme\.example`, yes: []string{"alice@acme.example"}, no: []string{"malice@acme.example", "alice@acme.example.evil", "alice@acmeXexample", "alice@acme.example\n"}},
		{re: `^alice@acme\.example$`, yes: []string{"alice@acme.example"}, no: []string{"xalice@acme.example", "alice@acme.example\n"}},
		{re: `(?m)^alice@acme\.example$`, yes: []string{"alice@acme.example"}, no: []string{"mallory\nalice@acme.example", "alice@acme.example\nmallory"}},
		{re: `a@x|b@x`, yes: []string{"a@x", "b@x"}, no: []string{"a@xy", "yb@x", "ca@x"}},
		{re: `.*@acme\.example`, yes: []string{"alice@acme.example"}, no: []string{"alice@acme.example.evil", "a\n@acme.example"}},
		{re: `(?i)alice@acme\.example`, yes: []string{"Alice@ACME.example"}, no: []string{"alice@acme.example.evil"}},
		{re: `alice@acme\.example\z|x`, yes: []string{"alice@acme.example", "x"}, no: []string{"xx"}},
	} {
		m := matcher(t, Spec{Issuer: issuerURL, SubjectRegExp: tt.re})
		byIssuer := matcher(t, Spec{IssuerRegExp: tt.re, Subject: "s@x"})
		for _, text := range tt.yes {
			if !m.Matches(Identity{SAN: SAN{Email, text}, Issuer: issuerURL}) || !byIssuer.Matches(Identity{SAN: SAN{Email, "s@x"}, Issuer: text}) {
				t.Errorf("%s does not match %q", tt.re, text)
			}
		}
		for _, text := range tt.no {
			if m.Matches(Identity{SAN: SAN{Email, text}, Issuer: issuerURL}) || byIssuer.Matches(Identity{SAN: SAN{Email, "s@x"}, Issuer: text}) {
				t.Errorf("%s matches %q", tt.re, text)
			}
		}
	}
}

// TestLIB21_LIB24_ExactMeansBytes holds look-alikes against an exact matcher.
func TestLIB21_LIB24_ExactMeansBytes(t *testing.T) {
	m := matcher(t, Spec{Issuer: "https://issuer.example", Subject: "rené@acme.example"})
	if !m.Matches(Identity{SAN: SAN{Email, "rené@acme.example"}, Issuer: "https://issuer.example"}) {
		t.Fatal("the good twin does not match")
	}
	for _, subject := range []string{
		"rene\u0301@acme.example", // NFD
		"René@acme.example", "rené@ACME.example", "rené@acme.example ", " rené@acme.example",
		"rené@acme.example\u200b", "ren\u200bé@acme.example", "rené@аcme.example", // zero width; Cyrillic
		"rené@acme.example\x00", "rené@acme.example\n", "rené@acme.example.", "rené%40acme.example", "",
	} {
		if m.Matches(Identity{SAN: SAN{Email, subject}, Issuer: "https://issuer.example"}) {
			t.Errorf("subject %q matches", subject)
		}
	}
	for _, issuer := range []string{
		"https://issuer.example/", "http://issuer.example", "https://ISSUER.example", "HTTPS://issuer.example",
		"https://issuer.example:443", "https://issuer.example.evil", "https://issuer.example?", "https://good@issuer.example", "",
	} {
		if m.Matches(Identity{SAN: SAN{Email, "rené@acme.example"}, Issuer: issuer}) {
			t.Errorf("issuer %q matches", issuer)
		}
	}
}

// TestA040_RegExpOnly demands that a matcher of nothing but expressions still
// refuses.
func TestA040_RegExpOnly(t *testing.T) {
	m := matcher(t, Spec{IssuerRegExp: `https://issuer\.example`, SubjectRegExp: `.*@acme\.example`})
	if !m.Matches(alice) {
		t.Error("the good twin does not match")
	}
	for _, id := range []Identity{
		{SAN: SAN{Email, "alice@evil.example"}, Issuer: issuerURL},
		{SAN: alice.SAN, Issuer: "https://issuer.example.evil"},
		{},
	} {
		if m.Matches(id) {
			t.Errorf("%+v matches", id)
		}
	}
}

func TestMatcherSpecs(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec Spec
		want string // in the error; empty if it is accepted
	}{
		{"exact", Spec{Issuer: "i", Subject: "s"}, ""},
		{"expressions", Spec{IssuerRegExp: "i", SubjectRegExp: "s"}, ""},
		{"nothing", Spec{}, "issuer"},
		{"no subject", Spec{Issuer: "i"}, "subject"},
		{"no issuer", Spec{Subject: "s"}, "issuer"},
		{"both issuers", Spec{Issuer: "i", IssuerRegExp: "i", Subject: "s"}, "issuer"},
		{"both subjects", Spec{Issuer: "i", Subject: "s", SubjectRegExp: "s"}, "subject"},
		{"bad expression", Spec{Issuer: "i", SubjectRegExp: "("}, "subjectRegExp"},
		{"leaving the group", Spec{Issuer: "i", SubjectRegExp: "x)|(?:.*"}, "subjectRegExp"},
		{"swallowing the anchor", Spec{Issuer: "i", SubjectRegExp: `x\`}, "subjectRegExp"},
		{"open class", Spec{Issuer: "i", SubjectRegExp: `[x`}, "subjectRegExp"},
		{"open quotation", Spec{Issuer: "i", SubjectRegExp: `\Qx`}, "subjectRegExp"},
		{"quotation", Spec{Issuer: "i", SubjectRegExp: `\Qs\E`}, ""},
		{"huge repetition", Spec{Issuer: "i", SubjectRegExp: `((x{1000}){1000}){1000}`}, "subjectRegExp"},
	} {
		m, err := NewMatcher(tt.spec)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.want)
		}
		if err == nil && m.Matches(Identity{Issuer: "i", SAN: SAN{Email, "sx"}}) {
			t.Errorf("%s: matches more than the whole value", tt.name)
		}
	}
	if (&Matcher{}).Matches(Identity{}) || (&Matcher{}).Matches(alice) {
		t.Error("the zero matcher matches")
	}
}

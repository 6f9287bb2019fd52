package identity

import (
	"errors"
	"fmt"
	"regexp"
)

// Matcher says which identities are wanted: an issuer and a subject, each
// given exactly or as a regular expression. Make one with [NewMatcher]; the
// zero value matches nothing.
type Matcher struct {
	issuer, subject pattern
	noIssuer        bool
}

// Spec is the text that a [Matcher] is made from. Exactly one of Issuer,
// IssuerRegExp and NoIssuer, and exactly one of Subject and SubjectRegExp, must
// be set.
// Regular expressions are RE2 and always match the whole value: they are
// anchored as \A(?:...)\z whether or not they are written so.
type Spec struct {
	Issuer        string `json:"issuer,omitempty"`
	IssuerRegExp  string `json:"issuerRegExp,omitempty"`
	Subject       string `json:"subject,omitempty"`
	SubjectRegExp string `json:"subjectRegExp,omitempty"`
	// NoIssuer wants certificates that name no issuer, and no others: those of
	// one's own authority, which knows its subjects without OpenID Connect. No
	// pattern for issuers, ".*" included, matches such a certificate.
	NoIssuer bool `json:"noIssuer,omitempty"`
}

// noIssuer stands where there is no issuer to name.
const noIssuer = "without an issuer"

// NewMatcher checks and compiles a [Spec]. The error names the field.
func NewMatcher(s Spec) (*Matcher, error) {
	var issuer pattern
	var err error
	if s.NoIssuer {
		if s.Issuer != "" || s.IssuerRegExp != "" {
			return nil, errors.New("noIssuer is set beside an issuer; give one")
		}
	} else if issuer, err = newPattern("issuer", s.Issuer, s.IssuerRegExp); err != nil {
		return nil, err
	}
	subject, err := newPattern("subject", s.Subject, s.SubjectRegExp)
	if err != nil {
		return nil, err
	}
	return &Matcher{issuer: issuer, subject: subject, noIssuer: s.NoIssuer}, nil
}

// Matches reports whether the identity is one that is wanted.
func (m *Matcher) Matches(id Identity) bool {
	if id.Issuer == "" {
		return m.noIssuer && m.subject.matches(id.SAN.Value)
	}
	return m.issuer.matches(id.Issuer) && m.subject.matches(id.SAN.Value)
}

// Spec is what the matcher was made from.
func (m *Matcher) Spec() Spec {
	return Spec{
		Issuer: m.issuer.exact, IssuerRegExp: m.issuer.source, NoIssuer: m.noIssuer,
		Subject: m.subject.exact, SubjectRegExp: m.subject.source,
	}
}

// String says what is wanted, for people.
func (m *Matcher) String() string {
	if m.noIssuer {
		return fmt.Sprintf("%s %s", m.subject, noIssuer)
	}
	return fmt.Sprintf("%s from %s", m.subject, m.issuer)
}

// pattern matches one string, exactly or by regular expression.
type pattern struct {
	exact  string
	source string
	re     *regexp.Regexp
}

func newPattern(field, exact, source string) (pattern, error) {
	switch {
	case exact != "" && source != "":
		return pattern{}, fmt.Errorf("%s and %sRegExp are both set; give one", field, field)
	case exact != "":
		return pattern{exact: exact}, nil
	case source == "":
		return pattern{}, fmt.Errorf("one of %s and %sRegExp is required", field, field)
	}
	// Compiled alone first: "a)|(b" would otherwise escape the group.
	if _, err := regexp.Compile(source); err != nil {
		return pattern{}, fmt.Errorf("%sRegExp: %w", field, err)
	}
	re, err := regexp.Compile(`\A(?:` + source + `)\z`)
	if err != nil {
		return pattern{}, errors.New(field + "RegExp: cannot be anchored")
	}
	return pattern{source: source, re: re}, nil
}

func (p pattern) matches(s string) bool {
	if p.re != nil {
		return p.re.MatchString(s)
	}
	return p.exact != "" && p.exact == s
}

func (p pattern) String() string {
	if p.re != nil {
		return "/" + p.source + "/"
	}
	return p.exact
}

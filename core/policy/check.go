package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
)

// Level says how much a [Finding] matters.
type Level string

// The levels.
const (
	Warning Level = "warning" // admits what nobody meant to admit, or refuses what nobody can satisfy
	Note    Level = "note"    // good to know
)

// Finding is something in a policy that is allowed, and may be a mistake.
type Finding struct {
	Level     Level  `json:"level"`
	Where     string `json:"where,omitempty"` // file and line
	Policy    string `json:"policy,omitempty"`
	Authority string `json:"authority,omitempty"`
	Message   string `json:"message"`
}

// String is one line for people.
func (f Finding) String() string {
	var parts []string
	for _, p := range []string{f.Where, string(f.Level), f.Policy, f.Authority, f.Message} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Check looks for what admits by accident, what can never be satisfied or
// match, which policies are demanded together, what is about to end, and which
// trust roots are missing. roots are the names of the trust roots that will be
// loaded beside those in the set; nil means that they are not known.
func (s *Set) Check(now time.Time, roots []string) []Finding {
	c := &checker{set: s, now: now}
	if roots != nil {
		roots = slices.Clone(roots)
		for _, r := range s.Roots {
			roots = append(roots, r.Name)
		}
	}
	for _, p := range s.Policies {
		c.checkPolicy(p, roots)
	}
	c.checkOverlaps()
	c.checkSite()
	return c.findings
}

// checker collects findings about the policy and authority at hand.
type checker struct {
	set       *Set
	now       time.Time
	policy    *Policy
	authority string
	findings  []Finding
}

func (c *checker) add(level Level, format string, args ...any) {
	f := Finding{Level: level, Authority: c.authority, Message: fmt.Sprintf(format, args...)}
	if c.policy != nil {
		f.Policy, f.Where = c.policy.Name, c.policy.where
	}
	c.findings = append(c.findings, f)
}

func (c *checker) checkPolicy(p *Policy, roots []string) {
	c.policy, c.authority = p, ""
	defer func() { c.policy, c.authority = nil, "" }()
	if p.Mode == Observe {
		c.add(Note, "only observes: it refuses nothing")
	}
	for i, glob := range p.Globs {
		c.checkGlob(glob, p.patterns[i])
	}
	refusing := 0
	for _, a := range p.Authorities {
		c.authority = a.Name
		switch {
		case a.Static != nil && a.Static.Pass:
			c.checkPass(p)
		case a.Static != nil:
			refusing++
		default:
			c.checkAuthority(a, roots)
		}
	}
	c.authority = ""
	if refusing == len(p.Authorities) {
		c.add(Note, "refuses every image that it is about, whoever signed it")
	}
}

// repositoryPart is a component of a repository's path by the distribution
// specification.
var repositoryPart = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*\z`)

func (c *checker) checkGlob(glob string, p pattern) {
	if p.wildcard != literal {
		return
	}
	if !strings.Contains(glob, "/") && strings.Contains(glob, ".") {
		c.add(Warning, "glob %q is about Docker Hub's official image of this name; for a registry's images write %s/**", glob, glob)
	}
	_, path, _ := strings.Cut(p.prefix, "/")
	for _, part := range strings.Split(path, "/") {
		if !repositoryPart.MatchString(part) {
			c.add(Warning, "glob %q can never match: no repository may have %q in its name", glob, part)
		}
	}
}

// checkPass looks at what a policy admits unseen.
func (c *checker) checkPass(p *Policy) {
	for i, pat := range p.patterns {
		host, _, whole := strings.Cut(pat.prefix, "/")
		if pat.wildcard != literal && (!whole || pat.prefix == host+"/") {
			c.add(Warning, "admits every image of %q without any signature", p.Globs[i])
			return
		}
	}
	c.add(Note, "admits images without any signature")
}

func (c *checker) checkAuthority(a *Authority, roots []string) {
	for _, name := range []string{a.TrustRoot, a.LogTrustRoot, a.TimestampTrustRoot} {
		if name != "" && roots != nil && !slices.Contains(roots, name) {
			c.add(Warning, "trust root %q is not known: no signature can be accepted", name)
			break
		}
	}
	if a.InsecureIgnoreSCT {
		c.add(Warning, "insecureIgnoreSCT accepts certificates that are in no certificate log: whoever misuses the authority is not found out")
	}
	if a.RequireTimestamp && !a.RequireLog && a.Key == nil {
		c.add(Note, "rfc3161timestamp without ctlog accepts signatures that are in no log: the owner of an identity cannot find out about a stolen token")
	}
	if a.Format == bundle.FormLegacy && c.set.Enforcement.Witnesses.N > 0 {
		c.add(Warning, "can never be satisfied: legacy signatures carry no witnesses' cosignatures, and a quorum is demanded")
	}
	for _, spec := range a.specs {
		c.checkIdentity(spec)
	}
}

// strangers are identities that anybody can get from an issuer that serves
// everybody.
var strangers = []struct{ issuer, subject, who string }{
	{"https://token.actions.githubusercontent.com", "https://github.com/some-stranger/some-repository/.github/workflows/x.yml@refs/heads/main", "anybody on GitHub"},
	{"https://gitlab.com", "https://gitlab.com/some-stranger/some-repository//.gitlab-ci.yml@refs/heads/main", "anybody on GitLab"},
	{"https://accounts.google.com", "some.stranger.4711@gmail.com", "anybody with a Google account"},
	{"https://github.com/login/oauth", "some.stranger.4711@users.noreply.example", "anybody on GitHub"},
	{"https://login.microsoftonline.com", "some.stranger.4711@outlook.com", "anybody with a Microsoft account"},
}

func (c *checker) checkIdentity(spec identity.Spec) {
	if matchesAnything(spec.IssuerRegExp) {
		c.add(Warning, "issuerRegExp %q accepts every issuer that the certificate authority accepts: whoever runs one of them can sign", spec.IssuerRegExp)
	}
	if matchesAnything(spec.SubjectRegExp) {
		c.add(Warning, "subjectRegExp %q accepts everybody whom the issuer knows", spec.SubjectRegExp)
	} else if spec.SubjectRegExp != "" {
		for _, s := range strangers {
			if matches(spec.Issuer, spec.IssuerRegExp, s.issuer) && matches("", spec.SubjectRegExp, s.subject) {
				c.add(Warning, "subjectRegExp %q accepts %s, such as %s", spec.SubjectRegExp, s.who, s.subject)
				break
			}
		}
	}
	for _, f := range []struct{ name, exact, expression string }{
		{"issuer", spec.Issuer, spec.IssuerRegExp}, {"subject", spec.Subject, spec.SubjectRegExp},
	} {
		if strings.ContainsAny(f.exact, `*\^$|`) {
			c.add(Warning, "%s %q looks like an expression, and is compared byte for byte: write it as %sRegExp", f.name, f.exact, f.name)
		}
		if dot := looseDot(f.expression); dot != "" {
			c.add(Warning, `%sRegExp %q: the dot in %q stands for any character; write \.`, f.name, f.expression, dot)
		}
	}
	if spec.Issuer != "" && !strings.Contains(spec.Issuer, "://") {
		c.add(Warning, "issuer %q can never match: issuers are URLs", spec.Issuer)
	}
}

// matches reports whether a text or an expression accepts something.
func matches(exact, expression, s string) bool {
	if expression == "" {
		return exact == s
	}
	re, err := regexp.Compile(`\A(?:` + expression + `)\z`)
	return err == nil && re.MatchString(s)
}

// matchesAnything reports whether an expression accepts texts that nobody can
// have had in mind.
func matchesAnything(expression string) bool {
	if expression == "" {
		return false
	}
	for _, unlikely := range []string{"zq", "https://nobody.invalid/zq?4711", "nobody@zq.invalid"} {
		if !matches("", expression, unlikely) {
			return false
		}
	}
	return true
}

// looseDot finds a dot that stands for any character between letters, as in
// "@acme.example", and returns it with its neighbours; "" if there is none.
func looseDot(expression string) string {
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil || expression == "" {
		return ""
	}
	return looseDotIn(tree)
}

func looseDotIn(re *syntax.Regexp) string {
	for i, sub := range re.Sub {
		if found := looseDotIn(sub); found != "" {
			return found
		}
		dot := sub.Op == syntax.OpAnyCharNotNL || sub.Op == syntax.OpAnyChar
		if re.Op == syntax.OpConcat && dot && i > 0 && i+1 < len(re.Sub) && re.Sub[i-1].Op == syntax.OpLiteral && re.Sub[i+1].Op == syntax.OpLiteral {
			return string(re.Sub[i-1].Rune) + "." + string(re.Sub[i+1].Rune)
		}
	}
	return ""
}

// maxOverlaps bounds how many overlaps are told.
const maxOverlaps = 100

// checkOverlaps finds policies about the same repositories. It tries each glob
// with a name put in the place of its wildcards, and so finds globs that
// contain others, not every pair that has some name in common.
func (c *checker) checkOverlaps() {
	told, seen := 0, make(map[[2]string]bool)
	for _, p := range c.set.Policies {
		for _, glob := range p.Globs {
			sample := strings.NewReplacer("**", "any", "*", "any").Replace(logicalGlob(glob))
			for _, other := range c.set.For(sample) {
				pair := [2]string{min(p.Name, other.Name), max(p.Name, other.Name)}
				if other == p || seen[pair] {
					continue
				}
				seen[pair] = true
				if told++; told > maxOverlaps {
					return
				}
				c.policy = p
				c.add(Note, "images of %q must also satisfy policy %s: all policies about an image are demanded", glob, other.Name)
				c.policy = nil
			}
		}
	}
}

func (c *checker) checkSite() {
	e := c.set.Enforcement
	if e.Mode == Observe {
		c.add(Note, "the site only observes: nothing is refused")
	}
	switch {
	case e.Unmatched.InsecureAdmit:
		c.add(Warning, "images that no policy is about are admitted unseen (unmatched.action: insecureAdmit)")
	case e.Unmatched.Mode == Observe:
		c.add(Note, "images that no policy is about are admitted (unmatched.mode: observe)")
	}
	for _, n := range e.Notices(c.now) {
		c.add(Note, "%s", n.Text)
	}
	for _, x := range e.Exceptions {
		c.checkOverridden("exception", x.Repository, x.Digest)
	}
	for _, p := range e.Pins {
		c.checkOverridden("pin", p.Repository, p.Digest)
	}
}

func (c *checker) checkOverridden(kind, repository, digest string) {
	if c.set.Enforcement.RevocationOf(digest) != nil {
		c.add(Warning, "the %s of %s has no effect: the image is revoked", kind, imageText(repository, digest))
	}
}

package auth

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// anonymous is the subject of rules for those without a name.
const anonymous = "anonymous"

// rule is a compiled Rule.
type rule struct {
	subjects, repositories []*regexp.Regexp
	page                   bool
}

// compile also says which field is wrong.
func compile(r Rule) (out rule, field string, err error) {
	out.page = r.Page
	if len(r.Subjects) == 0 {
		return rule{}, "subjects", errors.New("is missing")
	}
	if len(r.Repositories) == 0 && !r.Page {
		return rule{}, "repositories", errors.New("is missing")
	}
	for i, s := range r.Subjects {
		kind, _, ok := strings.Cut(s, ":")
		if s != anonymous && (!ok || kind != "user" && kind != "oidc" && kind != "cert") {
			return rule{}, fmt.Sprintf("subjects[%d]", i), fmt.Errorf("%q is neither user:NAME, oidc:NAME, cert:NAME nor anonymous", s)
		}
		out.subjects = append(out.subjects, glob(s))
	}
	for i, s := range r.Repositories {
		if !repositoryGlob.MatchString(s) {
			return rule{}, fmt.Sprintf("repositories[%d]", i), fmt.Errorf("%q is not a glob over names such as registry.example/app/**, with the registry's name and without a tag", s)
		}
		out.repositories = append(out.repositories, glob(s))
	}
	return out, "", nil
}

// checkIssuers refuses oidc: subjects that name no issuer, where issuers have names: "oidc:*@acme.example" would be about nobody.
func (r Rule) checkIssuers(issuers []Issuer) (field string, err error) {
	if len(issuers) == 0 || issuers[0].Name == "" {
		return "", nil
	}
	for i, s := range r.Subjects {
		rest, ok := strings.CutPrefix(s, "oidc:")
		if !ok {
			continue
		}
		name, _, whole := strings.Cut(rest, ":")
		if !whole || !slices.ContainsFunc(issuers, func(i Issuer) bool { return i.Name == name }) {
			return fmt.Sprintf("subjects[%d]", i), fmt.Errorf("%q names no issuer; write oidc:NAME:VALUE, with NAME as in oidc", s)
		}
	}
	return "", nil
}

// repositoryGlob is what a logical name with wildcards consists of.
var repositoryGlob = regexp.MustCompile(`\A(\*\*|[a-z0-9.*_-]+(:[0-9]+)?/[a-z0-9._*/-]+)\z`)

// glob compiles a pattern as policies have them: "*" stands for anything but "/", "**" for anything.
func glob(pattern string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(quoted, `\*\*`, `.*`)
	quoted = strings.ReplaceAll(quoted, `\*`, `[^/]*`)
	return regexp.MustCompile(`(?s)\A` + quoted + `\z`)
}

func (r rule) about(who string) bool {
	if who == "" {
		who = anonymous
	}
	return matchesAny(r.subjects, who)
}

func matchesAny(patterns []*regexp.Regexp, s string) bool {
	for _, p := range patterns {
		if p.MatchString(s) {
			return true
		}
	}
	return false
}

// Package location knows where clients look for images whose names say
// something else.
//
// A client can be told to take the images of one registry from another place: by
// registries.conf (podman, skopeo, buildah, CRI-O), by hosts.toml (containerd),
// by the proxy's own configuration. Then an image has two names. The logical
// name is what the user typed; policies speak of it, and policy.json compares
// signatures with it. The physical name is the repository that the client asks
// for the image, its signatures and its lookaside. A [Table] leads from one to
// the other, in both directions, by rules that each of these configurations can
// be written down as:
//
//   - The rule with the longest matching prefix decides about a name, and no
//     other does. A prefix matches a name that equals it or goes on with "/" or
//     ":" after it. ("example.com" is also about example.com:5000: so
//     containers/image has it.) A prefix *.example.com matches every host below
//     example.com, at any depth, and example.com itself not.
//   - The place is the rule's location with what follows the prefix. What a
//     wildcard stands for does not follow it, so that *.example.com with a
//     location sends all hosts to one.
//   - Mirrors are asked first, in their order. Some serve only what is asked for
//     by digest, or only by tag.
//   - A rule is applied once: to a place no rules are applied again, but if a
//     rule with Blocked is about it, it is not asked.
//
// Names are compared as they are written. A client that is asked for
// registry.example:443/app applies no rule about registry.example to it, and so
// does a Table; attach.NormalizeRepository then says what policies call
// it.
//
// # The way back
//
// [Table.Logical] is asked when all that is known is the place where a client
// looks, as the lookaside is. There may be several answers: two prefixes may lead
// to one place, and a place may also be named as it is. Each logical name has to
// be judged for itself; that one of them is admitted says nothing of another. A
// name that some rule takes elsewhere is not among the answers. Where a rule can
// lead to a place from any number of names (a wildcard with a location), there is
// no answer but [*AmbiguousError], which names the rule.
//
// The shapes of configurations that are known, with what they mean, are in
// core/location/locationtest, for the tests of everyone who makes a Table.
package location

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Limits, against configurations that no one has written by hand.
const (
	// MaxRules is the largest number of rules, and MaxMirrors that of one rule's mirrors. Clusters have a few hundred rules. The worst question, where all of
	// them lead to one place, looks at the square of the rules times the mirrors, which takes less than a second.
	MaxRules   = 1024
	MaxMirrors = 16
	// MaxNames is the largest number of logical names that lead to one place: each of them costs a judgement.
	MaxNames = 8
	// maxName is the length of the longest name in bytes, as containers/image and registries have it.
	maxName = 255
)

// Rewrite is one rule by which a client looks elsewhere for images than their name says.
type Rewrite struct {
	// Prefix is of logical names: a registry, a namespace, a repository, or *.example.com.
	Prefix string
	// Location is put in the place of the prefix. "" is the prefix itself: the name is left as it is.
	Location string
	// Insecure says that Location may be asked without TLS, and that its certificate is not verified.
	Insecure bool
	// Blocked says that images under the prefix are not pulled, neither by this name nor by another that leads here.
	Blocked bool
	// Mirrors are asked before Location, in this order.
	Mirrors []Mirror
	// From is the file that the rule is from, for errors.
	From string
}

// Mirror is a place that is asked before a rule's own.
type Mirror struct {
	Location string
	Insecure bool
	Pull     Pull
}

// Pull says for which pulls a mirror is asked.
type Pull string

// The kinds of pulls, as in registries.conf's pull-from-mirror.
const (
	Always     Pull = ""
	DigestOnly Pull = "digest-only" // an image that is named by its digest
	TagOnly    Pull = "tag-only"    // an image that is named by a tag, or by none
)

// Place is where a client looks for a repository.
type Place struct {
	Repository string
	Insecure   bool
	Mirror     bool
	Pull       Pull
}

// String is the repository, with what is special about it in parentheses: "mirror.example/app (mirror, insecure, digest-only)".
func (p Place) String() string {
	var special []string
	if p.Mirror {
		special = append(special, "mirror")
	}
	if p.Insecure {
		special = append(special, "insecure")
	}
	if p.Pull != Always {
		special = append(special, string(p.Pull))
	}
	if special == nil {
		return p.Repository
	}
	return p.Repository + " (" + strings.Join(special, ", ") + ")"
}

// AmbiguousError says that any number of logical names lead to a place.
type AmbiguousError struct {
	Physical string  // the place that was asked about
	Rule     Rewrite // the rule that can't be inverted
}

// Error names the rule, its file, and what to do.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s: images of any name under %s may be looked for there%s: give the rule's hosts a prefix each", e.Physical, e.Rule.Prefix, from(e.Rule))
}

// BlockedError says that a client looks nowhere for a name.
type BlockedError struct {
	Logical string
	Rule    Rewrite // the rule that has Blocked
}

// Error names the rule and its file.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("%s: %s is blocked%s", e.Logical, e.Rule.Prefix, from(e.Rule))
}

// from is the rule's file, where it is known.
func from(r Rewrite) string {
	if r.From == "" {
		return ""
	}
	return " (" + r.From + ")"
}

// Table is a set of rules. It does not change, and is safe for concurrent use.
type Table struct{ rules []Rewrite }

// New makes a table. Two rules with one prefix, and what is neither a prefix nor a location, are errors that name the rule and its file.
func New(rules []Rewrite) (*Table, error) {
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("locations: %d rules, at most %d can be held", len(rules), MaxRules)
	}
	t := &Table{}
	seen := map[string]Rewrite{}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("rule %q%s: %w", r.Prefix, from(r), err)
		}
		if other, ok := seen[r.Prefix]; ok {
			return nil, fmt.Errorf("rule %q%s: there is another rule with this prefix%s", r.Prefix, from(r), from(other))
		}
		seen[r.Prefix] = r
		r.Mirrors = append([]Mirror(nil), r.Mirrors...)
		t.rules = append(t.rules, r)
	}
	// Of a wildcard and a host that are as long as each other, containers/image takes the first in this order.
	slices.SortFunc(t.rules, func(a, b Rewrite) int { return strings.Compare(a.Prefix, b.Prefix) })
	return t, nil
}

// Rules returns the rules, sorted by prefix.
func (t *Table) Rules() []Rewrite {
	return append([]Rewrite(nil), t.rules...)
}

func (r Rewrite) check() error {
	if len(r.Mirrors) > MaxMirrors {
		return fmt.Errorf("%d mirrors, at most %d can be held", len(r.Mirrors), MaxMirrors)
	}
	if r.Prefix == "" || len(r.Prefix) > maxName || strings.HasSuffix(r.Prefix, "/") || r.wildcard() && strings.ContainsAny(r.Prefix, "/:@") {
		return fmt.Errorf("not a registry, a namespace, a repository, or *. with a domain")
	}
	if len(r.Location) > maxName || strings.HasSuffix(r.Location, "/") {
		return fmt.Errorf("location %q: not a registry, a namespace or a repository", r.Location)
	}
	for i, m := range r.Mirrors {
		switch {
		case m.Location == "" || len(m.Location) > maxName || strings.HasSuffix(m.Location, "/"):
			return fmt.Errorf("mirrors[%d]: location %q: not a registry, a namespace or a repository", i, m.Location)
		case m.Pull != Always && m.Pull != DigestOnly && m.Pull != TagOnly:
			return fmt.Errorf("mirrors[%d]: pull %q: not %s or %s", i, m.Pull, DigestOnly, TagOnly)
		}
	}
	return nil
}

// wildcard reports whether the prefix stands for the hosts below a domain.
func (r Rewrite) wildcard() bool { return strings.HasPrefix(r.Prefix, "*.") }

// nameGrammar is that of names with a registry (distribution/reference): a host with a dot, a port, or "localhost", and a path.
var nameGrammar = regexp.MustCompile(`\A(` + label + `(?:\.` + label + `)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?(/` + component + `)+\z`)

const (
	label     = `(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])`
	component = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
)

// checkName refuses what is no repository's full name: what a client would write otherwise, or not at all.
func checkName(name string) error {
	host, path, _ := strings.Cut(name, "/")
	switch {
	case len(name) > maxName:
		return fmt.Errorf("repository %.40q...: longer than %d bytes", name, maxName)
	case !nameGrammar.MatchString(name):
		return fmt.Errorf("repository %q: not a repository's name with its registry", name)
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return fmt.Errorf("repository %q: its first part is not a registry, which has a dot or a port", name)
	case host == "index.docker.io", host == "docker.io" && !strings.Contains(path, "/"):
		return fmt.Errorf("repository %q: clients call it by another name, with docker.io/ and library/ in full", name)
	}
	return nil
}

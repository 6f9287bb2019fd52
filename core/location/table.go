package location

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Places says where a client looks for a repository, in its order: mirrors first, the place that decides last. The name has a registry in front,
// and is written as clients write it in full, such as docker.io/library/busybox. It is a [*BlockedError] if the client looks nowhere, and another
// error if a rule makes something of the name that is none.
func (t *Table) Places(logical string) ([]Place, error) {
	if err := checkName(logical); err != nil {
		return nil, err
	}
	r, ok := t.find(logical)
	if !ok {
		return []Place{{Repository: logical}}, nil
	}
	if r.Blocked {
		return nil, &BlockedError{Logical: logical, Rule: r}
	}
	var places []Place
	var noName error          // of the first that makes no name of it
	broken := map[Pull]bool{} // the pulls that it prevents: all other places are then not asked either, so containers/image has it
	for _, e := range r.endpoints() {
		if e.Repository == "" {
			e.Repository = logical
		} else {
			e.Repository += logical[r.match(logical):]
		}
		if err := checkName(e.Repository); err != nil {
			broken[e.Pull] = true
			noName = cmp.Or(noName, fmt.Errorf("%s: by the rule %q%s: %w", logical, r.Prefix, from(r), err))
		}
		places = append(places, e)
	}
	if places = unbroken(places, broken); len(places) == 0 {
		return nil, noName
	}
	var blocked Rewrite
	places = slices.DeleteFunc(places, func(p Place) bool {
		there, ok := t.find(p.Repository)
		if ok && there.Blocked {
			blocked = there
			return true
		}
		return false
	})
	if len(places) == 0 {
		return nil, &BlockedError{Logical: logical, Rule: blocked}
	}
	return places, nil
}

// unbroken leaves the places that are asked for the pulls that are not broken.
func unbroken(places []Place, broken map[Pull]bool) []Place {
	digests, tags := !broken[Always] && !broken[DigestOnly], !broken[Always] && !broken[TagOnly]
	var out []Place
	for _, p := range places {
		switch {
		case digests && tags:
		case digests && p.Pull != TagOnly:
			p.Pull = DigestOnly
		case tags && p.Pull != DigestOnly:
			p.Pull = TagOnly
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// Logical returns the logical names that lead a client to this repository, sorted, by a mirror or not: none if nothing does. It is a [*AmbiguousError] if
// a rule leads there from any number of them, and an error if there are more than [MaxNames].
func (t *Table) Logical(physical string) ([]string, error) {
	if err := checkName(physical); err != nil {
		return nil, err
	}
	var names []string
	for _, w := range t.ways(physical) {
		switch {
		case w.name == "":
			return nil, &AmbiguousError{Physical: physical, Rule: w.rule}
		case !slices.Contains(names, w.name):
			names = append(names, w.name)
		}
	}
	slices.Sort(names)
	if len(names) > MaxNames {
		return nil, fmt.Errorf("%s: more than %d logical names lead there, too many to judge each: %s and others", physical, MaxNames, strings.Join(names[:MaxNames], ", "))
	}
	return names, nil
}

// Insecure reports whether clients ask this repository without verifying TLS, or without TLS: a rule that leads there says so, and no other rule leads there securely.
func (t *Table) Insecure(physical string) bool {
	insecure := false
	for _, w := range t.ways(physical) {
		switch {
		case w.rule.Prefix == "": // no rule's business
		case !w.insecure:
			return false
		default:
			insecure = true
		}
	}
	return insecure
}

// way is one by which a client gets to a place.
type way struct {
	name     string  // "" is any number of names
	rule     Rewrite // without a prefix if there is none
	insecure bool
}

// ways are those that lead to a place.
func (t *Table) ways(physical string) []way {
	var ways []way
	tried := map[string]bool{}
	try := func(name string) {
		if tried[name] {
			return
		}
		tried[name] = true
		places, err := t.Places(name)
		if err != nil { // no client gets anywhere by this name
			return
		}
		rule, _ := t.find(name)
		for _, p := range places {
			if p.Repository == physical {
				ways = append(ways, way{name, rule, p.Insecure})
			}
		}
	}
	try(physical)
	for _, r := range t.rules {
		for _, e := range r.endpoints() {
			rest, ok := after(e.Repository, physical)
			switch {
			case e.Repository == "" || !ok: // the name itself was tried
			case !r.wildcard():
				try(r.Prefix + rest)
			case !r.Blocked && !t.blocks(physical) && checkName("x"+r.Prefix[1:]+rest) == nil:
				ways = append(ways, way{"", r, e.Insecure})
			}
		}
	}
	return ways
}

// endpoints are the rule's places, in the order in which they are asked, with locations for repositories. "" leaves the name as it is.
func (r Rewrite) endpoints() []Place {
	var out []Place
	for _, m := range r.Mirrors {
		out = append(out, Place{Repository: m.Location, Insecure: m.Insecure, Mirror: true, Pull: m.Pull})
	}
	return append(out, Place{Repository: r.Location, Insecure: r.Insecure})
}

// find is the rule that decides about a name.
func (t *Table) find(name string) (Rewrite, bool) {
	var best Rewrite
	for _, r := range t.rules {
		if len(r.Prefix) > len(best.Prefix) && r.match(name) >= 0 {
			best = r
		}
	}
	return best, best.Prefix != ""
}

func (t *Table) blocks(physical string) bool {
	r, ok := t.find(physical)
	return ok && r.Blocked
}

// match is how much of the name the prefix stands for, in bytes; -1 if it does not match.
func (r Rewrite) match(name string) int {
	if !r.wildcard() {
		if rest, ok := after(r.Prefix, name); ok {
			return len(name) - len(rest)
		}
		return -1
	}
	// The first occurrence alone counts, so a.example.com.example.com is not below example.com: so containers/image has it.
	host, rest, ok := strings.Cut(name, r.Prefix[1:])
	if !ok || strings.Contains(host, "/") || rest != "" && rest[0] != ':' && rest[0] != '/' {
		return -1
	}
	return len(name) - len(rest)
}

// after is what follows a prefix in a name. It begins with "/" or ":", if it is not empty.
func after(prefix, name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	return rest, ok && (rest == "" || rest[0] == '/' || rest[0] == ':')
}

package policy

import "slices"

// index finds the policies about a repository without trying them all: a glob
// can only match a name that begins with its literal prefix, and the prefixes
// of a name are few.
type index struct {
	policies []*Policy
	// byPrefix are the patterns with a literal prefix, and lengths the lengths of
	// these prefixes, ascending.
	byPrefix map[string][]indexed
	lengths  []int
}

// indexed is a pattern of a policy.
type indexed struct {
	pattern pattern
	policy  int // its place in the file
}

func newIndex(policies []*Policy) *index {
	x := &index{policies: policies, byPrefix: make(map[string][]indexed)}
	for i, p := range policies {
		for _, pat := range p.patterns {
			if _, ok := x.byPrefix[pat.prefix]; !ok {
				x.lengths = append(x.lengths, len(pat.prefix))
			}
			x.byPrefix[pat.prefix] = append(x.byPrefix[pat.prefix], indexed{pat, i})
		}
	}
	slices.Sort(x.lengths)
	x.lengths = slices.Compact(x.lengths)
	return x
}

// lookup returns the matching policies, in the order of the file.
func (x *index) lookup(repository string) []*Policy {
	var places []int
	for _, n := range x.lengths {
		if n > len(repository) {
			break
		}
		for _, e := range x.byPrefix[repository[:n]] {
			if e.pattern.matches(repository) {
				places = append(places, e.policy)
			}
		}
	}
	slices.Sort(places)
	var matching []*Policy
	for _, i := range slices.Compact(places) {
		matching = append(matching, x.policies[i])
	}
	return matching
}

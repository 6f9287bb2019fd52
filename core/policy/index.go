package policy

import "slices"

// index finds the policies about a repository without trying them all: a glob
// can only match a name that begins with its literal prefix and ends with its
// literal suffix, and the prefixes and suffixes of a name are few.
type index struct {
	policies []*Policy
	byPrefix affixes[*affixes[[]indexed]]
}

// affixes are things found by a prefix, or a suffix, of a name.
type affixes[T any] struct {
	byText  map[string]T
	lengths []int // of the texts, ascending, each once
}

// indexed is a pattern of a policy.
type indexed struct {
	pattern pattern
	policy  int // its place in the file
}

func (a *affixes[T]) put(text string, what T) {
	if a.byText == nil {
		a.byText = make(map[string]T)
	}
	a.byText[text] = what
	if at, known := slices.BinarySearch(a.lengths, len(text)); !known {
		a.lengths = slices.Insert(a.lengths, at, len(text))
	}
}

func newIndex(policies []*Policy) *index {
	x := &index{policies: policies}
	for i, p := range policies {
		for _, pat := range p.patterns {
			bucket, ok := x.byPrefix.byText[pat.prefix]
			if !ok {
				bucket = new(affixes[[]indexed])
				x.byPrefix.put(pat.prefix, bucket)
			}
			bucket.put(pat.suffix, append(bucket.byText[pat.suffix], indexed{pat, i}))
		}
	}
	return x
}

// lookup returns the matching policies, in the order of the file.
func (x *index) lookup(repository string) []*Policy {
	var places []int
	for _, n := range x.byPrefix.lengths {
		if n > len(repository) {
			break
		}
		bucket, ok := x.byPrefix.byText[repository[:n]]
		if !ok {
			continue
		}
		for _, m := range bucket.lengths {
			if m > len(repository) {
				break
			}
			for _, e := range bucket.byText[repository[len(repository)-m:]] {
				if e.pattern.matches(repository) {
					places = append(places, e.policy)
				}
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

package situations

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Facts describe a situation completely, by name and value. A fact that is not
// named has its usual value.
type Facts map[string]string

// fact is one name and the values that it may have.
type fact struct {
	name, usual string
	others      []string // nil: any
}

// vocabulary is every fact; situations.yaml says what they mean.
var vocabulary = []fact{
	{"site", "default", names(sites)},
	{"policy", "alice", nil},

	{"image", "single", []string{"index"}},
	{"asked", "whole", []string{"platform"}},
	{"parent", "known", []string{"unknown", "foreign"}},
	{"on", "whole", []string{"platforms", "one-platform", "whole-and-platforms"}},

	{"signer", "alice", append(names(people), append(names(keySpecs), "nobody", "vendor", "another-vendor")...)},
	{"root", "private", []string{"second", "own"}},
	{"form", "bundle", []string{"message", "legacy", "legacy-attestation", "openpgp", "notation"}},
	{"about", "image", names(predicateTypes)},
	{"predicate", "0-critical", []string{"3-critical", "empty"}},
	{"log", "v1", []string{"v1-promise", "v1-proof", "v2", "other", "none"}},
	{"cosigned", "by-nobody", names(cosigners)},
	{"time", "timestamp", []string{"none", "other-authority"}},
	{"signed", "now", []string{"60-days-ago"}},
	{"certificate", "good", []string{"expired", "without-sct", "other-certificate-log", "old-authority", "second-authority"}},
	{"damage", "none", []string{"signature", "other-image", "other-entry", "not-json", "other-repository"}},
	{"also", "nothing", []string{"mallory", "notation", "spdx", "slsa", "100-bad", "200-bad"}},

	{"registry", "current", []string{"old", "old-mistyped"}},
	{"lies", "beside", []string{"elsewhere", "behind-prefix"}},
	{"said", "nothing", names(sayings)},
	{"fault", "none", names(faults)},
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Get is a fact's value.
func (f Facts) Get(name string) string {
	if v, ok := f[name]; ok {
		return v
	}
	for _, v := range vocabulary {
		if v.name == name {
			return v.usual
		}
	}
	return ""
}

// String lists what is not usual.
func (f Facts) String() string {
	var parts []string
	for _, v := range vocabulary {
		if value := f.Get(v.name); value != v.usual {
			parts = append(parts, v.name+": "+value)
		}
	}
	return strings.Join(parts, ", ")
}

func (f Facts) with(changes Facts) Facts {
	all := maps.Clone(f)
	if all == nil {
		all = make(Facts)
	}
	maps.Copy(all, changes)
	return all
}

func (f Facts) check() error {
	for name, value := range f {
		i := slices.IndexFunc(vocabulary, func(v fact) bool { return v.name == name })
		if i < 0 {
			return fmt.Errorf("%q is no fact", name)
		}
		if v := vocabulary[i]; v.others != nil && value != v.usual && !slices.Contains(v.others, value) {
			return fmt.Errorf("%s: %q is neither %s nor one of %s", name, value, v.usual, strings.Join(v.others, ", "))
		}
	}
	return nil
}

package doctor

import (
	"os"
	"strings"

	"github.com/touchmark/touchmark/core/policy"
)

// Passing is a policy that admits every image of a registry, or of all, without a
// signature.
type Passing struct {
	Policy string
	// Glob is what it is about, as the policy has it.
	Glob string
}

// Passes finds the policies of a set that admit too much unseen. One that is about
// some repositories only may mean it.
func Passes(set *policy.Set) (found []Passing) {
	for _, p := range set.Policies {
		for _, glob := range p.Globs {
			if everything(glob) && passes(p) {
				found = append(found, Passing{Policy: p.Name, Glob: glob})
			}
		}
	}
	return found
}

// everything reports whether a glob is about all images of a registry, or of all.
func everything(glob string) bool {
	return glob == "*" || glob == "**" || strings.HasSuffix(glob, "/**") && strings.Count(glob, "/") == 1
}

// passes reports whether one of a policy's authorities admits everything.
func passes(p *policy.Policy) bool {
	for _, a := range p.Authorities {
		if a.Static != nil && a.Static.Pass {
			return true
		}
	}
	return false
}

// NoPolicies reports whether there is nothing at a path, or a directory without a
// policy.
func (e *Examination) NoPolicies(path string) bool {
	resolved, _, err := e.Resolve(path)
	if err != nil {
		return Missing(err)
	}
	info, err := os.Stat(resolved)
	return err == nil && info.IsDir() && len(e.List(path, ".yaml")) == 0
}

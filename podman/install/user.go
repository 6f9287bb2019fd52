package install

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// A user's own agent stands in the place of the host's. Images in the user's
// scopes need not be countersigned by both: the host's agent has none of the
// user's credentials, and could say nothing good of a private image.

// withoutHost takes the host's countersignatures out of what a user's rules demand.
func (p *planner) withoutHost(rules map[string][]policyjson.Requirement) {
	for _, scope := range p.merged.Scopes("docker") {
		rule := p.merged.Transports["docker"][scope]
		for ours := range rules {
			if rest := slices.DeleteFunc(slices.Clone(rule), ofHost); registriesd.Within(scope, ours) && len(rest) > 0 && len(rest) < len(rule) {
				p.merged.Set("docker", scope, rest)
				p.note("%s: the host's agent is not asked, but this user's own", scope)
				break
			}
		}
	}
}

// ofHost reports whether a requirement is for the host's own key.
func ofHost(r policyjson.Requirement) bool {
	return slices.ContainsFunc(r.Keys(), func(file string) bool {
		return filepath.Dir(file) == filepath.Join(podman.Host{}.Touchmark(), "podman")
	})
}

// ofAgent reports whether a lookaside is an agent's, as install writes it.
func ofAgent(lookaside, namespace string) bool {
	return strings.HasPrefix(lookaside, "http://") && strings.HasSuffix(lookaside, "/lookaside/"+registryOf(namespace))
}

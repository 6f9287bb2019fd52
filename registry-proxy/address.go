package registryproxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Address is how clients address a registry at a [Front].
type Address struct {
	// Registry is its logical name, which ?ns= says.
	Registry string
	// Hosts and Prefix are those of a [Mount].
	Hosts  []string
	Prefix string
	// PassThrough says that clients log in at the registry itself.
	PassThrough bool
}

// CheckAddresses says by which field, such as "registries[1].prefix", a registry could not be addressed, or in the place of another.
func CheckAddresses(all []Address) (field string, err error) {
	seen := map[string]bool{}
	for i, a := range all {
		at := fmt.Sprintf("registries[%d]", i)
		for j, other := range all {
			if j != i && slices.Contains(a.Hosts, other.Registry) {
				return at + ".hosts", fmt.Errorf("%s is another registry's name", other.Registry)
			}
		}
		names := []string{"name " + a.Registry}
		for _, h := range a.Hosts {
			if h == "" || h != strings.ToLower(h) || strings.ContainsAny(h, "/@ ") {
				return at + ".hosts", fmt.Errorf("%q is not a host name in lower case, with a port where clients say one", h)
			}
			names = append(names, "host "+h)
		}
		if a.Prefix != "" {
			if !repositoryPattern.MatchString(a.Prefix) {
				return at + ".prefix", fmt.Errorf("%q is not the beginning of a repository's name", a.Prefix)
			}
			names = append(names, "prefix "+a.Prefix)
		}
		for _, n := range names {
			if seen[n] {
				return at, fmt.Errorf("%s stands twice", n)
			}
			seen[n] = true
		}
		if a.PassThrough && len(a.Hosts) == 0 && (len(all) > 1 || a.Prefix != "") {
			return at + ".hosts", errors.New("is missing: clients are passed through to " + a.Registry + ", and log in to a host")
		}
	}
	return "", nil
}

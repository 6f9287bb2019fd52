package doctor

import (
	"cmp"
	"errors"
	"slices"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/podman/policyjson"
)

// demand is what a rule of policy.json wants of an image.
type demand int

const (
	accepts demand = iota // anything
	refuses               // everything
	ours                  // the host's own signature, or in [Native] any
	others                // a signature of somebody else
)

// demand says what a list of requirements, all of which must be met, amounts
// to.
func (s *snapshot) demand(reqs []policyjson.Requirement) demand {
	out := accepts
	for _, r := range reqs {
		switch {
		case r.Type == policyjson.Reject || r.Type == policyjson.SignedBaseLayer:
			return refuses
		case r.Type == policyjson.Accept:
		case s.ours(r):
			out = ours
		case out == accepts:
			out = others
		}
	}
	return out
}

// ours reports whether a requirement is meant to be the host's: it is of the
// host's form, and holds the host's key, or names the host's file, or no key of
// it can be read. What else is wrong with it, checkRequirements says.
func (s *snapshot) ours(r policyjson.Requirement) bool {
	switch s.Intent.Form {
	case Native:
		return true
	case Sigstore:
		if r.Type != policyjson.SigstoreSigned {
			return false
		}
	default:
		if r.Type != policyjson.SignedBy {
			return false
		}
	}
	if slices.ContainsFunc(r.Keys(), func(k string) bool { return s.At(k) == s.At(s.Intent.Public) }) {
		return true
	}
	ring, err := s.keysOf(r)
	if len(ring) == 0 {
		return err != nil
	}
	host := s.hostKey()
	return host.key == nil || slices.ContainsFunc(ring, func(k trusted) bool { return same(k.key, host.key) })
}

// checkRequirements looks at a rule that demands the host's signature: whether
// such a signature is accepted, and no other.
func (s *snapshot) checkRequirements(where, scope string, reqs []policyjson.Requirement) {
	open, rest := s.problems(scope, reqs)
	for _, p := range slices.Concat(rest, open) {
		s.Find(p.code, cmp.Or(p.where, where), "%s", p.message)
	}
}

// problems are what is wrong with a rule that demands the host's signature.
// open lets other images in.
func (s *snapshot) problems(scope string, reqs []policyjson.Requirement) (open, rest []problem) {
	// All requirements must be met, so one that is tight is enough against
	// being open, and one that is broken is enough to refuse.
	tight := false
	for _, r := range reqs {
		if r.Type == policyjson.Accept || !s.ours(r) {
			continue
		}
		before := len(open)
		for _, p := range append(s.identityProblems(r, scope), s.keyProblems(r)...) {
			if Catalog().Cause(p.code).Severity == doctor.Open {
				open = append(open, p)
			} else {
				rest = append(rest, p)
			}
		}
		tight = tight || len(open) == before
	}
	if tight {
		open = nil
	}
	return open, rest
}

// problem is a finding that may yet not count.
type problem struct{ code, where, message string }

// identityProblems are those of a requirement's signedIdentity.
func (s *snapshot) identityProblems(r policyjson.Requirement, scope string) []problem {
	if r.Identity == nil || !s.Intent.agent() {
		return nil
	}
	switch id := r.Identity; id.Type {
	case policyjson.MatchRepository:
	case policyjson.ExactRepository, policyjson.ExactReference:
		// Harmless where the scope is that very repository.
		if id.Type == policyjson.ExactRepository && id.DockerRepository == scope {
			return nil
		}
		return []problem{{"identity-fixed", "", "signedIdentity " + id.Type + ": a countersignature for " + cmp.Or(id.DockerRepository, id.DockerReference) + " is taken for any image here"}}
	case policyjson.RemapIdentity:
		return []problem{{"identity-fixed", "", "signedIdentity remapIdentity: a countersignature for " + id.SignedPrefix + " is taken for an image of " + id.Prefix}}
	default:
		return []problem{{"identity-exact", "", "signedIdentity " + id.Type + " wants a tag in the signature, and a countersignature has none"}}
	}
	return nil
}

// keyProblems are those of a requirement's keys.
func (s *snapshot) keyProblems(r policyjson.Requirement) (out []problem) {
	for _, file := range r.Keys() {
		if why := s.Intruder(s.At(file)); why != "" {
			out = append(out, problem{"keyring-writable", s.At(file), why})
		}
	}
	ring, err := s.keysOf(r)
	if err != nil {
		code, file := "keyring-unusable", missingKeyring("")
		if errors.As(err, &file) {
			code = "keyring-missing"
		}
		out = append(out, problem{code, "", s.Name(err.Error())})
	}
	if !s.Intent.agent() || err != nil {
		return out
	}
	host := s.hostKey()
	if host.key == nil {
		return out // checkFiles says that there is none
	}
	found := false
	for _, k := range ring {
		switch {
		case same(k.key, host.key):
			found = true
		case k.name != "" && k.name == host.name && k.file == s.At(s.Intent.Public):
			out = append(out, problem{"key-previous", k.file, "the key " + k.print + " was rotated out and is still accepted"})
		default:
			out = append(out, problem{"keyring-extra", k.file, "the key " + k.print + " is not the agent's, and what it signed is accepted"})
		}
	}
	if !found {
		out = append(out, problem{"keyring-other", "", "the agent's key is not among those that are accepted here"})
	}
	return out
}

package install

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// Demand is what is to be added to a policy.json.
type Demand struct {
	// Rules are, by scope of the docker transport, the requirements that images
	// in it must meet besides those that are there already.
	Rules map[string][]policyjson.Requirement
	// KeepDefault leaves what holds for images outside of the scopes.
	// Otherwise a default that accepts anything becomes one that rejects.
	KeepDefault bool
	// OtherTransports says what becomes of transports that have no rule of
	// their own: [Keep] or [Reject].
	OtherTransports string
}

// What becomes of other transports.
const (
	Keep   = "keep"   // they do as they did
	Reject = "reject" // they are rejected
)

// transports are those that containers/image knows besides docker. What a
// client reads its own storage by is not among them: push, save and build read
// from there what was judged when it was pulled.
var transports = []string{"atomic", "dir", "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree", "sif", "tarball"}

// storage is the transport of podman's and buildah's own storage.
const storage = "containers-storage"

// Merge adds a demand to a policy.json. No verdict becomes weaker: what is
// demanded is added to what was, for the declared scopes and every scope within
// them, and a rule that rejects stays as it is. A scope that is new starts from
// the rule that held for it before.
//
// A file that is nil stands for none at all, which clients answer by refusing
// everything. Nothing is changed in f.
func Merge(f *policyjson.File, d Demand) *policyjson.File {
	if f == nil {
		f = &policyjson.File{Default: []policyjson.Requirement{policyjson.Plain(policyjson.Reject)}}
		f.Set(storage, "", []policyjson.Requirement{policyjson.Plain(policyjson.Accept)})
	}
	out := f.Clone()
	for scope, ours := range d.Rules {
		reqs, _ := f.Effective("docker", scope)
		out.Set("docker", scope, reqs)
		for _, other := range append(f.Scopes("docker"), scope) {
			if other != "" && registriesd.Within(other, scope) {
				out.Set("docker", other, strengthen(out.Transports["docker"][other], ours))
			}
		}
	}
	// A scope that is declared within another one has both demands.
	for scope := range d.Rules {
		for outer, ours := range d.Rules {
			if registriesd.Within(scope, outer) {
				out.Set("docker", scope, strengthen(out.Transports["docker"][scope], ours))
			}
		}
	}
	before := f.Default
	if !d.KeepDefault {
		out.Default = refuseInstead(out.Default)
		if reqs, ok := out.Transports["docker"][""]; ok {
			out.Set("docker", "", refuseInstead(reqs))
		}
	}
	others := []string{storage}
	if d.OtherTransports == Keep {
		others = append(others, transports...)
	}
	for _, transport := range others {
		if _, ok := out.Transports[transport][""]; !ok && !equal(before, out.Default) {
			out.Set(transport, "", before)
		}
	}
	if d.OtherTransports == Reject && d.KeepDefault {
		for _, transport := range transports {
			if _, ok := out.Transports[transport][""]; !ok {
				out.Set(transport, "", []policyjson.Requirement{policyjson.Plain(policyjson.Reject)})
			}
		}
	}
	return out
}

// strengthen adds requirements to a rule. A list that says "accept anything"
// beside a demand says nothing more than the demand.
func strengthen(rule, ours []policyjson.Requirement) []policyjson.Requirement {
	if slices.ContainsFunc(rule, func(r policyjson.Requirement) bool { return r.Type == policyjson.Reject }) {
		return rule
	}
	out := slices.DeleteFunc(slices.Clone(rule), func(r policyjson.Requirement) bool { return r.Type == policyjson.Accept })
	for _, r := range ours {
		if !slices.ContainsFunc(out, r.Equal) {
			out = append(out, r)
		}
	}
	if len(out) == 0 { // nothing was demanded, nothing is
		return rule
	}
	return out
}

// refuseInstead is a rule that rejects in the place of one that accepts
// anything. One that demands something is left as it is.
func refuseInstead(rule []policyjson.Requirement) []policyjson.Requirement {
	for _, r := range rule {
		if r.Type != policyjson.Accept {
			return rule
		}
	}
	return []policyjson.Requirement{policyjson.Plain(policyjson.Reject)}
}

// demands reports whether a rule contains one of the requirements.
func demands(rule, ours []policyjson.Requirement) bool {
	return slices.ContainsFunc(rule, func(r policyjson.Requirement) bool { return slices.ContainsFunc(ours, r.Equal) })
}

func equal(a, b []policyjson.Requirement) bool {
	return slices.EqualFunc(a, b, policyjson.Requirement.Equal)
}

// countersigned is the demand for a countersignature of this host's key.
func countersigned(form, public string) (policyjson.Requirement, error) {
	type pki struct {
		CARootsPath  string `json:"caRootsPath"`
		SubjectEmail string `json:"subjectEmail"`
	}
	type identity struct {
		Type string `json:"type"`
	}
	members := struct {
		Type           string   `json:"type"`
		KeyType        string   `json:"keyType,omitempty"`
		KeyPath        string   `json:"keyPath,omitempty"`
		PKI            *pki     `json:"pki,omitempty"`
		SignedIdentity identity `json:"signedIdentity"`
	}{SignedIdentity: identity{policyjson.MatchRepository}}
	switch form {
	case OpenPGP:
		members.Type, members.KeyType, members.KeyPath = policyjson.SignedBy, "GPGKeys", public
	case Sigstore:
		members.Type, members.PKI = policyjson.SigstoreSigned, &pki{CARootsPath: public, SubjectEmail: subject}
	default:
		return policyjson.Requirement{}, fmt.Errorf("form %q: neither %s nor %s", form, OpenPGP, Sigstore)
	}
	text, err := json.Marshal(members)
	if err != nil {
		return policyjson.Requirement{}, err
	}
	// Read as clients read it.
	return policyjson.ParseRequirement("the requirement of Touchmark", text)
}

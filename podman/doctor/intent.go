package doctor

import (
	"slices"
	"strings"
)

// Form says what policy.json demands of images in the declared scopes.
type Form string

// The forms.
const (
	OpenPGP  Form = "openpgp"  // the agent's countersignature, in OpenPGP
	Sigstore Form = "sigstore" // the agent's countersignature, by the host's own CA
	Native   Form = "native"   // what podman/native compiled; no agent
)

// Intent is what a host is to enforce. Paths are the host's own, with
// Host.Root or without.
type Intent struct {
	// File is the file that says so, for messages; "" if it was said otherwise.
	File string
	// Problem is what is wrong with that file; nil if nothing is.
	Problem error
	// Scopes are the parts of transports.docker that are to be enforced.
	Scopes []string
	// OthersAccepted says that images outside of Scopes may be accepted
	// unjudged, as policy.json had it before Touchmark.
	OthersAccepted bool
	// Transports are the other transports that may accept anything.
	Transports []string
	// Form is how policy.json asks; "" is [OpenPGP].
	Form Form
	// SecretKey is the agent's secret key file; "" if it is in a KMS. Public is
	// the file with its public half: a keyring, or certificates.
	SecretKey, Public string
	// Lookaside is the agent's URL, as "http://127.0.0.1:7467"; "" in [Native].
	Lookaside string
	// Proxies are the hosts, with their ports, of the registry proxies that
	// images of Scopes are to come through; policy.json may then accept them.
	Proxies []string
	// Socket is the agent's unix socket, State its directory.
	Socket, State string
	// Files are Touchmark's own files and directories that decide what is
	// admitted: policies and trust roots.
	Files []string
	// Policies are the policy file or directory.
	Policies string
}

// agent reports whether the host's own countersignature is demanded.
func (i Intent) agent() bool { return i.Form != Native }

// declared reports whether a scope of transports.docker lies within the
// declared ones: everything that it is about is to be enforced.
func (i Intent) declared(scope string) bool {
	return slices.ContainsFunc(i.Scopes, func(d string) bool { return within(scope, d) })
}

// within reports whether everything that a scope is about is also about the
// outer one. "" is about everything.
func within(scope, outer string) bool {
	if outer == "" || scope == outer {
		return true
	}
	if domain, ok := strings.CutPrefix(outer, "*."); ok {
		host, _, _ := strings.Cut(scope, "/")
		if !strings.HasPrefix(host, "*.") {
			host, _, _ = strings.Cut(host, ":")
		}
		return strings.HasSuffix(host, "."+domain)
	}
	rest, ok := strings.CutPrefix(scope, outer)
	// A colon after a registry begins a port, after a repository a tag.
	return ok && (rest[0] == '/' || rest[0] == '@' || rest[0] == ':' && strings.Contains(outer, "/"))
}

// spellings are the other names of a scope's registry. Clients reach the same
// images by them, and policy.json takes each for another registry.
func spellings(scope string) []string {
	registry, path, found := strings.Cut(scope, "/")
	if strings.Contains(registry, ":") || strings.HasPrefix(registry, "*.") || registry == "" {
		return nil
	}
	if found {
		path = "/" + path
	}
	out := []string{registry + ":443" + path}
	if registry == "docker.io" {
		out = append(out, "registry-1.docker.io"+path, "registry-1.docker.io:443"+path)
	}
	return out
}

// sampleName is each part of a sample's name, and samplePath what it has behind
// the scope: two parts, since docker.io/touchmark-doctor would be
// docker.io/library/touchmark-doctor.
const (
	sampleName = "touchmark-doctor"
	samplePath = sampleName + "/" + sampleName
)

// sample is a repository that a declared scope is about.
func sample(scope string) string {
	if domain, ok := strings.CutPrefix(scope, "*."); ok {
		return sampleName + "." + domain + "/" + samplePath
	}
	if scope == "" {
		return sampleName + ".invalid/" + samplePath
	}
	return scope + "/" + samplePath
}

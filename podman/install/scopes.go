package install

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// Scopes are the scopes of policy.json that a policy's globs stand for: a
// repository, or all of a namespace or a registry ("registry.example/acme/**",
// and "registry.example/acme/*": what lies deeper is then asked for, too, and
// the policy refuses it). Scopes within others are left out.
//
// A glob that no scope stands for is an error that names it: policy.json has no
// wildcards behind the registry, and before it the lookaside's URL would not
// say which registry is meant.
func Scopes(set *policy.Set) ([]string, error) {
	var scopes []string
	var problems []error
	for _, p := range set.Policies {
		for _, glob := range p.Globs {
			scope, err := ScopeOf(glob)
			if err != nil {
				problems = append(problems, fmt.Errorf("policy %s: glob %q: %w", p.Name, glob, err))
				continue
			}
			scopes = append(scopes, scope)
		}
	}
	return outermost(scopes), errors.Join(problems...)
}

// ScopeOf is the scope that a glob stands for, see [Scopes].
func ScopeOf(glob string) (string, error) {
	prefix, ok := strings.CutSuffix(glob, "/**")
	if !ok {
		prefix, ok = strings.CutSuffix(glob, "/*")
	}
	if strings.Contains(prefix, "*") || prefix == "" {
		literal, _, _ := strings.Cut(glob, "*")
		hint := "name the registries or namespaces that are to be enforced with --scope"
		if slash := strings.LastIndexByte(literal, '/'); slash > 0 {
			hint = "--scope " + literal[:slash] + " enforces all of that"
		}
		return "", fmt.Errorf("policy.json has no such wildcard; %s", hint)
	}
	if !ok {
		return attach.NormalizeRepository(prefix)
	}
	return CheckScope(prefix)
}

// below makes of a scope the name of a repository in it, that no one uses: it
// tells whether the scope is well formed, and which rule is about all of it. It
// has two parts, since docker.io/touchmark would be docker.io/library/touchmark.
const below = "/touchmark/touchmark"

// CheckScope gives a scope that somebody named its full form: "acme" with no
// registry is a namespace of Docker Hub.
func CheckScope(scope string) (string, error) {
	if strings.Contains(scope, "*") {
		return "", fmt.Errorf("scope %q: has a wildcard; name each registry, since a lookaside's URL has to say which one is meant", scope)
	}
	if scope == "" {
		return "", errors.New("scope: is empty")
	}
	registry, path, _ := strings.Cut(scope, "/")
	if !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		registry, path = "docker.io", scope
	}
	full := registry
	if path != "" {
		full += "/" + path
	}
	normal, err := attach.NormalizeRepository(full + below)
	if err != nil {
		return "", fmt.Errorf("scope %q: %w", scope, err)
	}
	return strings.TrimSuffix(normal, below), nil
}

// outermost sorts scopes, without those that lie within others.
func outermost(scopes []string) []string {
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	var out []string
	for _, s := range scopes {
		if !slices.ContainsFunc(scopes, func(other string) bool { return other != s && registriesd.Within(s, other) }) {
			out = append(out, s)
		}
	}
	return out
}

// spellings are the scopes under which clients may name what is in a scope.
// Policies know a registry without its default port, and Docker Hub by one
// name; for policy.json and registries.d each spelling is another registry.
func spellings(scope string) []string {
	registry, path, _ := strings.Cut(scope, "/")
	if path != "" {
		path = "/" + path
	}
	out := []string{scope}
	if !strings.Contains(registry, ":") {
		out = append(out, registry+":443"+path)
	}
	if registry == "docker.io" {
		out = append(out, "registry-1.docker.io"+path, "registry-1.docker.io:443"+path)
	}
	return out
}

// physical are the namespaces where clients look for what lies in a scope: the
// scope itself or the place that a rule of registries.conf has in its stead,
// mirrors, and where rules about parts of it lead.
func physical(table *location.Table, scope string) []string {
	var out []string
	// Of some names a rule makes nothing: it blocks them, or puts a host before
	// their port. No client pulls by them.
	places, err := table.Places(scope + below)
	if err != nil {
		places = nil
	}
	for _, p := range places {
		out = append(out, strings.TrimSuffix(p.Repository, below))
	}
	for _, rule := range table.Rules() {
		if rule.Blocked || !registriesd.Within(rule.Prefix, scope) || rule.Prefix == scope {
			continue
		}
		at := rule.Location
		if at == "" {
			at = rule.Prefix
		}
		out = append(out, at)
		for _, m := range rule.Mirrors {
			out = append(out, m.Location)
		}
	}
	return out
}

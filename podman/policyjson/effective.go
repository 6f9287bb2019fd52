package policyjson

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/touchmark/touchmark/podman"
)

// Effective are the requirements that hold for one image, and where they stand,
// as "default" or `transports.docker["registry.example/team"]`. The most
// specific scope wins wholly: requirements of its parents count for nothing.
//
// For docker the scope is a fully expanded reference, as
// "docker.io/library/busybox:1" (a client always asks with a tag or a digest),
// or a repository, namespace or registry. For dir, oci, oci-archive and sif it
// is an absolute path; for containers-storage as podman(1) writes it, with the
// store in brackets; for the others it is "".
func (f *File) Effective(transport, scope string) (reqs []Requirement, from string) {
	for _, candidate := range candidates(transport, scope) {
		if reqs, ok := f.Transports[transport][candidate]; ok {
			return reqs, ruleName(transport, candidate)
		}
	}
	return f.Default, "default"
}

// candidates are the keys under which containers/image looks for an image of a
// transport, the most specific first.
func candidates(transport, scope string) []string {
	if scope == "" {
		return []string{""}
	}
	switch transport {
	case "docker", "atomic":
		return append(podman.DockerScopes(scope), "")
	case "dir", "oci", "oci-archive", "sif":
		var out []string
		for path := scope; path != "" && path != "/"; {
			out = append(out, path)
			path = path[:max(0, strings.LastIndexByte(path, '/'))]
		}
		return append(out, "")
	case "containers-storage":
		return append(storageScopes(scope), "")
	}
	return []string{scope, ""}
}

// storageScopes are the scopes of "[driver@root]name:tag@id"
// (storage/storage_reference.go of go.podman.io/image/v5).
func storageScopes(scope string) []string {
	out := []string{scope}
	store, name, ok := strings.Cut(scope, "]")
	if !ok || !strings.HasPrefix(store, "[") {
		return out
	}
	for name != "" {
		if cut := strings.LastIndexAny(name, "@/"); cut >= 0 && name[cut] == '@' {
			name = name[:cut]
		} else if colon := strings.LastIndexByte(name, ':'); colon > cut && cut >= 0 {
			name = name[:colon]
		} else if cut >= 0 {
			name = name[:cut]
		} else {
			break
		}
		out = append(out, store+"]"+name)
	}
	if name != "" {
		out = append(out, store+"]")
	}
	if _, root, ok := strings.Cut(store, "@"); ok {
		out = append(out, "["+root+"]")
	}
	return out
}

// ruleName names a rule in errors and reports.
func ruleName(transport, scope string) string {
	return fmt.Sprintf("transports.%s[%q]", transport, scope)
}

// checkScope refuses scopes for which containers/image refuses the whole file.
// For docker it takes any; those of containers-storage depend on the host's
// stores.
func checkScope(transport, scope string) error {
	if scope == "" {
		return nil
	}
	switch transport {
	case "dir", "oci", "oci-archive", "sif":
		if !strings.HasPrefix(scope, "/") || scope == "/" || filepath.Clean(scope) != scope {
			return errors.New("a scope of this transport is an absolute path without . and .., and not /")
		}
	case "docker-archive", "tarball":
		return errors.New(`this transport has no scope but ""`)
	}
	return nil
}

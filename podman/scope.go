package podman

import "strings"

// DockerScopes are the keys under which containers/image looks for a reference
// of the docker transport in policy.json and in registries.d, the most specific
// first: the reference, its repository, each parent, the registry, then
// *.wildcards of the registry's domain without its port
// (docker/policyconfiguration.DockerReferenceNamespaces of
// go.podman.io/image/v5).
//
// The reference is fully expanded, as "docker.io/library/busybox:1"; without a
// tag and a digest it is a repository, a namespace or a registry, and stands in
// the result once.
func DockerScopes(reference string) []string {
	name := repositoryOf(reference)
	var out []string
	if name != reference {
		out = append(out, reference)
	}
	for {
		out = append(out, name)
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			break
		}
		name = name[:slash]
	}
	name, _, _ = strings.Cut(name, ":")
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return out
		}
		name = parent
		out = append(out, "*."+name)
	}
}

// repositoryOf is a reference without its tag and its digest.
func repositoryOf(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	slash := strings.LastIndexByte(name, '/')
	if colon := strings.LastIndexByte(name, ':'); slash >= 0 && colon > slash {
		name = name[:colon]
	}
	return name
}

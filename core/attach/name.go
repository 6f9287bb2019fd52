package attach

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// NormalizeRepository gives a repository's logical name: with a registry in
// front, docker.io for Docker Hub's many names, and library/ before its
// official images. It is an error if s has a tag or digest, or if its path is not
// a name by the distribution specification: with ".." in it, a glob would match
// where it does not lead.
func NormalizeRepository(s string) (string, error) {
	repo, err := name.NewRepository(s)
	if err != nil {
		return "", fmt.Errorf("repository %q: %w", s, err)
	}
	if !repositoryPath.MatchString(repo.RepositoryStr()) {
		return "", fmt.Errorf("repository %q: its path is not a repository's name", s)
	}
	return LogicalName(repo), nil
}

// repositoryPath is the <name> of the distribution specification 1.1.
var repositoryPath = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z`)

// LogicalName is the logical name of a parsed repository. The registry's host is
// in lower case, without a dot at its end and without the port that it has anyway:
// what leads to the same registry must not lead past its policies.
func LogicalName(repo name.Repository) string {
	host, port := strings.ToLower(repo.RegistryStr()), ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") { // an IPv6 address without a port
		host, port = host[:i], strings.TrimLeft(host[i+1:], "0")
	}
	host = strings.TrimSuffix(host, ".")
	if port == "443" {
		port = ""
	}
	path := repo.RepositoryStr()
	switch {
	case port != "":
		host += ":" + port
	case host == "docker.io" || host == name.DefaultRegistry || host == "registry-1.docker.io":
		host = "docker.io"
		if !strings.Contains(path, "/") {
			path = "library/" + path
		}
	}
	return host + "/" + path
}

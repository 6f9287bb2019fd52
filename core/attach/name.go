package attach

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/imagename"
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
	if !imagename.IsPath(repo.RepositoryStr()) {
		return "", fmt.Errorf("repository %q: its path is not a repository's name", s)
	}
	return LogicalName(repo), nil
}

// LogicalName is the logical name of a parsed repository, see [imagename.Logical].
func LogicalName(repo name.Repository) string {
	return imagename.Logical(repo.RegistryStr(), repo.RepositoryStr())
}

package attach

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// NormalizeRepository gives a repository's logical name: with a registry in
// front, docker.io for Docker Hub's many names, and library/ before its
// official images. It is an error if s has a tag or digest.
func NormalizeRepository(s string) (string, error) {
	repo, err := name.NewRepository(s)
	if err != nil {
		return "", fmt.Errorf("repository %q: %w", s, err)
	}
	return LogicalName(repo), nil
}

// LogicalName is the logical name of a parsed repository.
func LogicalName(repo name.Repository) string {
	n := repo.Name()
	if rest, ok := strings.CutPrefix(n, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return n
}

package kubelet

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// pattern is a matchImages, or a key of an answer: a host, of which parts may
// have wildcards, a port, and the beginning of a path.
type pattern struct {
	parts []string
	port  string
	path  string
}

// parsePattern reads a pattern.
func parsePattern(text string) (pattern, error) {
	u, err := url.Parse("https://" + strings.TrimPrefix(strings.TrimPrefix(text, "https://"), "http://"))
	if err != nil || u.Host == "" || u.User != nil {
		return pattern{}, fmt.Errorf("%q is not a registry, with a path or not", text)
	}
	p := pattern{parts: strings.Split(u.Hostname(), "."), port: u.Port(), path: u.Path}
	for _, part := range p.parts {
		if _, err := path.Match(part, ""); err != nil {
			return pattern{}, fmt.Errorf("%q: %w", text, err)
		}
	}
	return p, nil
}

// matches reports whether the pattern is about a repository, with its registry in
// front. (A path is a prefix by its bytes, as the kubelet has it.)
func (p pattern) matches(repository string) bool {
	image, err := parsePattern(repository)
	if err != nil || p.port != image.port || len(p.parts) != len(image.parts) || !strings.HasPrefix(image.path, p.path) {
		return false
	}
	for i, part := range p.parts {
		if ok, err := path.Match(part, image.parts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

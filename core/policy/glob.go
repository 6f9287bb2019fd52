package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// pattern is a compiled image glob.
type pattern struct{ re *regexp.Regexp }

func (p pattern) matches(repository string) bool { return p.re.MatchString(repository) }

var everything = pattern{regexp.MustCompile(`\A.*\z`)}

// validGlob is policy-controller's set of characters, without upper-case letters,
// which no logical name has.
var validGlob = regexp.MustCompile(`\A[a-z0-9_:/*.-]+\z`)

// compileGlob reads an image glob with policy-controller's meaning: "*" stands
// for any number of characters but "/", "**" for any at all, and a glob without
// a registry means Docker Hub. Docker Hub is docker.io under all its names.
//
// A glob with a tag or digest is refused: most enforcement points never learn
// the tag under which an image was asked for, and a rule that holds at some of
// them only would be worse than none. So is one that could match no name: beside
// a broader and laxer policy, a rule that silently never holds admits.
func compileGlob(glob string) (pattern, error) {
	switch {
	case glob == "":
		return pattern{}, errors.New("is empty")
	case strings.Contains(glob, "@"):
		return pattern{}, fmt.Errorf("%q names a digest; globs are about repositories (for one image, use an exception)", glob)
	case strings.Contains(glob[strings.LastIndexByte(glob, '/')+1:], ":"):
		return pattern{}, fmt.Errorf("%q names a tag; globs are about repositories, since most clients never tell the tag", glob)
	case !validGlob.MatchString(glob):
		return pattern{}, fmt.Errorf("%q contains a character that no image name has (they are in lower case)", glob)
	case slices.Contains(strings.Split(glob, "/"), ""):
		return pattern{}, fmt.Errorf("%q has an empty part, which no image name has (and no scheme)", glob)
	}
	glob = logicalGlob(glob)
	var re strings.Builder
	re.WriteString(`\A`)
	for i := 0; i < len(glob); i++ {
		switch {
		case strings.HasPrefix(glob[i:], "**"):
			re.WriteString(`.*`)
			i++
		case glob[i] == '*':
			re.WriteString(`[^/]*`)
		default:
			re.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	re.WriteString(`\z`)
	compiled, err := regexp.Compile(re.String())
	if err != nil {
		return pattern{}, fmt.Errorf("%q: %w", glob, err)
	}
	return pattern{compiled}, nil
}

// dockerHub are the names under which clients reach Docker Hub.
var dockerHub = []string{"docker.io", "index.docker.io", "registry-1.docker.io"}

// logicalGlob gives a glob the form of the names that it is held against (see
// core/attach.NormalizeRepository).
func logicalGlob(glob string) string {
	host, rest, found := strings.Cut(glob, "/")
	hub := slices.Contains(dockerHub, host)
	switch {
	case glob == "**":
		return glob
	case !found:
		return "docker.io/library/" + glob
	case hub && !strings.Contains(rest, "/") && !strings.Contains(rest, "**"):
		return "docker.io/library/" + rest
	case hub:
		return "docker.io/" + rest
	case !strings.ContainsAny(host, ".:") && host != "localhost" && !strings.Contains(host, "**"):
		return "docker.io/" + glob
	}
	return glob
}

package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// pattern is a compiled image glob.
type pattern struct{ re *regexp.Regexp }

func (p pattern) matches(repository string) bool { return p.re.MatchString(repository) }

var everything = pattern{regexp.MustCompile(`\A.*\z`)}

// validGlob is policy-controller's set of characters, without those that
// would name a tag or digest (see compileGlob).
var validGlob = regexp.MustCompile(`\A[a-zA-Z0-9_:/*.-]+\z`)

// compileGlob reads an image glob with policy-controller's meaning: "*" stands
// for any number of characters but "/", "**" for any at all, and a glob without
// a registry means Docker Hub. Docker Hub is docker.io under all its names.
//
// A glob with a tag or digest is refused: most enforcement points never learn
// the tag under which an image was asked for, and a rule that holds at some of
// them only would be worse than none.
func compileGlob(glob string) (pattern, error) {
	switch {
	case glob == "":
		return pattern{}, errors.New("is empty")
	case strings.Contains(glob, "@"):
		return pattern{}, fmt.Errorf("%q names a digest; globs are about repositories (for one image, use an exception)", glob)
	case strings.Contains(glob[strings.LastIndexByte(glob, '/')+1:], ":") && strings.Contains(glob, "/"):
		return pattern{}, fmt.Errorf("%q names a tag; globs are about repositories, since most clients never tell the tag", glob)
	case !validGlob.MatchString(glob):
		return pattern{}, fmt.Errorf("%q contains a character that no image name has", glob)
	}
	switch host, rest, found := strings.Cut(glob, "/"); {
	case glob == "**":
	case !found:
		glob = "docker.io/library/" + glob
	case host == "index.docker.io":
		glob = "docker.io/" + rest
	case !strings.ContainsAny(host, ".:") && host != "localhost" && !strings.Contains(host, "**"):
		glob = "docker.io/" + glob
	}
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

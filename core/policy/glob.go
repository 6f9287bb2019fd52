package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// pattern is a compiled image glob.
type pattern struct {
	// prefix and suffix stand before the first and behind the last wildcard; a
	// glob without one is all prefix.
	prefix, suffix string
	wildcard       wildcard
	re             *regexp.Regexp // for wildcards in several places
}

// wildcard says what may stand between prefix and suffix.
type wildcard int

const (
	literal   wildcard = iota // nothing
	component                 // "*"
	anything                  // "**"
	several                   // what the expression says
)

// everything matches every repository.
var everything = pattern{wildcard: anything}

func (p pattern) matches(repository string) bool {
	if len(repository) < len(p.prefix)+len(p.suffix) || !strings.HasPrefix(repository, p.prefix) || !strings.HasSuffix(repository, p.suffix) {
		return false
	}
	switch p.wildcard {
	case literal:
		return len(repository) == len(p.prefix)
	case component:
		return !strings.Contains(repository[len(p.prefix):len(repository)-len(p.suffix)], "/")
	case anything:
		return true
	}
	return p.re.MatchString(repository)
}

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
	return newPattern(logicalGlob(glob)), nil
}

// newPattern compiles a glob of valid characters.
func newPattern(glob string) pattern {
	first, last := strings.IndexByte(glob, '*'), strings.LastIndexByte(glob, '*')
	if first < 0 {
		return pattern{prefix: glob}
	}
	p := pattern{prefix: glob[:first], suffix: glob[last+1:]}
	switch glob[first : last+1] {
	case "*":
		p.wildcard = component
	case "**":
		p.wildcard = anything
	default:
		p.wildcard = several
		// Everything but the stars is quoted, so that this always compiles.
		expression := strings.NewReplacer(`\*\*`, ".*", `\*`, "[^/]*").Replace(regexp.QuoteMeta(glob))
		p.re = regexp.MustCompile(`\A` + expression + `\z`)
	}
	return p
}

// dockerHub are the names under which clients reach Docker Hub.
var dockerHub = []string{"docker.io", "index.docker.io", "registry-1.docker.io"}

// logicalGlob gives a glob the form of the names that it is held against (see
// core/attach.NormalizeRepository). A wildcard in the place of the registry
// stands for every registry, but in "*" and "*/*", which are Docker Hub's, as
// policy-controller has it.
func logicalGlob(glob string) string {
	host, rest, found := strings.Cut(glob, "/")
	if found {
		host = withoutDefaultPort(host)
		glob = host + "/" + rest
	}
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
	case glob == "*/*", !strings.ContainsAny(host, ".:*") && host != "localhost":
		return "docker.io/" + glob
	}
	return glob
}

// withoutDefaultPort drops the port that a registry has anyway, as
// core/attach.LogicalName does.
func withoutDefaultPort(host string) string {
	name, port, found := strings.Cut(host, ":")
	if port = strings.TrimLeft(port, "0"); found && (port == "" || port == "443") {
		return name
	}
	return host
}

// logicalRepository gives a repository's name its logical form, the one that
// globs are held against. Wildcards, tags and digests are errors.
func logicalRepository(name string) (string, error) {
	switch {
	case strings.Contains(name, "*"):
		return "", fmt.Errorf("%q is a glob; name one repository", name)
	case strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":"):
		return "", fmt.Errorf("%q names a tag, which may come to mean another image", name)
	}
	if _, err := compileGlob(name); err != nil {
		return "", err
	}
	return logicalGlob(name), nil
}

package lookaside

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

const (
	// maxPath bounds the raw path, in bytes: two names of the longest kind that registries accept, and a digest.
	maxPath = 1024
	// maxHost and maxRepository bound a registry's name with its port, and a repository's path, in bytes: DNS and the distribution specification.
	maxHost       = 261
	maxRepository = 255
	// maxSignatures is how many signatures containers/image asks for before it gives up.
	maxSignatures = 128
)

// question is what a path asks for.
type question struct {
	Physical string // registry and repository path, as clients spell them
	Digest   string // "sha256:" and 64 hexadecimal digits
	N        int    // of the signature, from 1
}

// Host names are in lower case: registries.d has them so, and clients copy them from there. Clients escape the brackets of IPv6 addresses, and nothing else.
var (
	pathPattern = regexp.MustCompile(`\A/lookaside/([^/]+)/([^@]+)@sha256=([0-9a-f]{64})/signature-([1-9][0-9]{0,2})\z`)
	hostPattern = regexp.MustCompile(`\A(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?\z`)
	// namePattern is the <name> of the distribution specification 1.1.
	namePattern = regexp.MustCompile(`\A[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\z`)
)

var errPath = errors.New("the path is not /lookaside/<registry>/<repository>@sha256=<64 hexadecimal digits>/signature-<number>")

// parsePath reads a request's path as it was sent.
func parsePath(untrusted string) (question, error) {
	if len(untrusted) > maxPath {
		return question{}, errPath
	}
	m := pathPattern.FindStringSubmatch(untrusted)
	if m == nil {
		return question{}, errPath
	}
	host := m[1]
	if address, ok := strings.CutPrefix(host, "%5B"); ok {
		host = "[" + strings.Replace(address, "%5D", "]", 1)
	}
	n, err := strconv.Atoi(m[4])
	if err != nil || n > maxSignatures || len(host) > maxHost || !hostPattern.MatchString(host) || len(m[2]) > maxRepository || !namePattern.MatchString(m[2]) {
		return question{}, errPath
	}
	return question{Physical: host + "/" + m[2], Digest: "sha256:" + m[3], N: n}, nil
}

package registryproxy

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The grammar of the OCI distribution specification 1.1 ("Pulling manifests"), anchored. Only SHA-256 digests are
// served: it is the one algorithm that the evidence this proxy verifies can be about. Lengths are checked apart: a bounded
// repetition takes a hundred times as long to compile, at the start of every program that has this package.
var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`)
	digestPattern     = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
	mediaTypePattern  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]*/[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]*$`)
)

// Lengths of a tag, and of each half of a media type (RFC 6838, 4.2).
const (
	maxTag       = 128
	maxMediaPart = 127
)

func isTag(s string) bool { return len(s) <= maxTag && tagPattern.MatchString(s) }

func isMediaType(s string) bool {
	kind, subtype, _ := strings.Cut(s, "/")
	return len(kind) <= maxMediaPart && len(subtype) <= maxMediaPart && mediaTypePattern.MatchString(s)
}

const (
	// maxRepositoryName is what every client and registry can hold: many cut host and name off at 255 bytes together.
	maxRepositoryName = 255
	// maxPath holds the longest valid path: /v2/, a name, /referrers/ and a digest.
	maxPath = 4 + maxRepositoryName + 11 + 71
	// maxQuery holds every known parameter at its longest; ten thousand parameters are refused before they are split.
	maxQuery = 1024
	// maxTagsPage caps ?n=: a page is held in memory (distribution's own cap is 1000, too).
	maxTagsPage = 1000
)

// endpoint names one of the few things that this proxy serves.
type endpoint int

const (
	endpointBase endpoint = iota
	endpointManifest
	endpointBlob
	endpointTags
	endpointReferrers
)

// request is a client's request after its path and query have passed the grammar: nothing else of the client's request
// reaches the upstream, but the byte range of a blob.
type request struct {
	endpoint     endpoint
	repository   string  // without the registry, as the upstream knows it
	visible      string  // as the client wrote it
	tag          string  // manifests by tag only
	digest       v1.Hash // zero when tag is set
	namespace    string  // ?ns=, a registry's name
	pageSize     int     // ?n=, -1 when it was not given
	last         string  // ?last=
	artifactType string  // ?artifactType=
}

// reference is the last path element of a manifest request.
func (r request) reference() string {
	if r.tag != "" {
		return r.tag
	}
	return r.digest.String()
}

// parseRequest reads path and query by the specification's grammar and does no I/O.
//
// The path is taken as it was sent: a name that is only valid after unescaping (%2f, %2e, %00) is refused, so that this
// proxy, the upstream and whatever stands between them cannot understand it differently.
func parseRequest(u *url.URL) (request, *failure) {
	path := u.EscapedPath()
	if len(path) > maxPath {
		return request{}, invalid(codeNameInvalid, "the path is longer than any valid repository, tag and digest")
	}
	if strings.ContainsAny(path, "%;\\") || strings.Contains(path, "//") || hasDotSegment(path) {
		return request{}, invalid(codeNameInvalid, "the path holds escapes, empty or dot segments, or characters that no repository, tag or digest has")
	}
	req, fail := parsePath(path)
	if fail != nil {
		return request{}, fail
	}
	if fail := req.parseQuery(u.RawQuery); fail != nil {
		return request{}, fail
	}
	return req, nil
}

func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// parsePath reads from the end, because a repository's name may hold components such as "manifests" itself.
func parsePath(path string) (request, *failure) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return request{}, notFound(codeUnsupported, "this is a registry proxy: its API lies under /v2/")
	}
	if rest == "" {
		return request{endpoint: endpointBase, pageSize: -1}, nil
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return request{}, notFound(codeUnsupported, "no such endpoint: this proxy serves manifests, blobs, tags and referrers")
	}
	verb, last := parts[len(parts)-2], parts[len(parts)-1]
	req := request{repository: strings.Join(parts[:len(parts)-2], "/"), pageSize: -1}
	req.visible = req.repository
	switch {
	case verb == "manifests":
		req.endpoint = endpointManifest
	case verb == "blobs":
		req.endpoint = endpointBlob
	case verb == "referrers":
		req.endpoint = endpointReferrers
	case verb == "tags" && last == "list":
		req.endpoint = endpointTags
	default:
		return request{}, notFound(codeUnsupported, "no such endpoint: this proxy serves manifests, blobs, tags and referrers")
	}
	if len(req.repository) > maxRepositoryName || !repositoryPattern.MatchString(req.repository) {
		return request{}, invalid(codeNameInvalid, "the repository's name does not fit the specification's grammar")
	}
	switch req.endpoint {
	case endpointTags:
		return req, nil
	case endpointManifest:
		if isTag(last) {
			req.tag = last
			return req, nil
		}
	}
	if !digestPattern.MatchString(last) {
		return request{}, invalid(codeDigestInvalid, "the last path element is neither a tag nor a digest of the form sha256:<64 lower-case hex digits> where one is expected")
	}
	req.digest = sha256Hash(strings.TrimPrefix(last, "sha256:"))
	return req, nil
}

// parseQuery accepts ns everywhere, n and last for tags and artifactType for referrers, each once and nothing else.
func (r *request) parseQuery(raw string) *failure {
	if raw == "" {
		return nil
	}
	if len(raw) > maxQuery {
		return invalid(codeUnsupported, "the query is longer than its known parameters can be")
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return invalid(codeUnsupported, "the query does not parse")
	}
	for key, all := range values {
		if len(all) != 1 {
			return invalid(codeUnsupported, "a query parameter is given twice")
		}
		value := all[0]
		switch {
		case key == "ns":
			if value == "" {
				return invalid(codeUnsupported, "ns is empty")
			}
			r.namespace = value // compared with names that are fronted, and used for nothing else
		case key == "n" && r.endpoint == endpointTags:
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return invalid(codeUnsupported, "n is not a number of tags")
			}
			r.pageSize = min(int(n), maxTagsPage)
		case key == "last" && r.endpoint == endpointTags:
			if !isTag(value) {
				return invalid(codeUnsupported, "last is not a tag")
			}
			r.last = value
		case key == "artifactType" && r.endpoint == endpointReferrers:
			if !isMediaType(value) {
				return invalid(codeUnsupported, "artifactType is not a media type")
			}
			r.artifactType = value
		default:
			return invalid(codeUnsupported, "an unknown query parameter is given: this endpoint knows none of that name")
		}
	}
	return nil
}

// readOnly reports whether a method may be served at all.
func readOnly(method string) bool { return method == http.MethodGet || method == http.MethodHead }

func sha256Hash(hex string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hex} }

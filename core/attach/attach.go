// Package attach finds and writes signatures and attestations beside images in a registry.
//
// [Find] answers "what evidence lies beside the image with this digest?". It asks
//
//  1. the referrers API of the OCI distribution specification 1.1, GET /v2/<repository>/referrers/<digest>, every page of it;
//  2. where the registry has no referrers API, the index at the fallback tag sha256-<hex>;
//  3. the tag sha256-<hex>.sig, where cosign 2, podman and skopeo keep simple signing signatures.
//
// [FindWithAttestations] also asks
//
//  4. the tag sha256-<hex>.att, where cosign 2 keeps attestations. Those that are bundles are among the referrers, and [Find] returns them as well.
//
// What it finds is parsed by core/bundle and returned; whether any of it is worth something is
// decided by core/verify. A registry is not trusted: every manifest asked for by digest has to hash to it, every blob has to have the
// digest and the size of its descriptor, Docker-Content-Digest is never read, and every body is bounded. What was
// found but can't be used is returned with its reason ([Located].Err), and what is no evidence that we know how to check, such as a
// Notation signature or an SBOM that nobody signed, is named ([Found].Other); nothing is left out.
//
// "There is no signature" and "I could not find out" are different answers. Only a 404 (for the referrers API also the other answers of a registry that
// doesn't have it, see [Find]) means that something isn't there; every other failure is a [*LookupError] with the URL and the status.
//
// # Requests
//
// Docker Hub and others count requests for manifests. For an image with n referrers that are bundles or may be some (of types that nobody knows eight at most), one
// call makes
//
//	                         registry with referrers API    without
//	[Find]                   2 + n                          3 + n
//	[FindWithAttestations]   3 + n                          4 + n
//
// of them, one more for each further page of referrers, and never more than [MaxManifestRequests]; [Found].ManifestRequests is the number that was made. Each piece of
// evidence is one request for a blob on top, which nobody counts. [Resolve] and [Children] make one request for a manifest each. Requests that a registry throttles
// are repeated, and counted once.
//
// Each call makes one handshake with the registry (the ping of /v2/ and, where it asks for one, a token) and keeps nothing afterwards. Several calls share
// one handshake if their Source comes from [Connect].
//
// [WriteBundle], [WriteLegacy] and [WriteLegacyAttestation] write evidence in each of these forms. [Resolve] turns a reference into a descriptor computed from the manifest's
// bytes, and [Children] lists what an index holds.
package attach

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/bundle"
)

// Limits on what a registry can make us do. Everything in a registry can be written by whoever may push there.
const (
	// MaxManifest is the largest manifest or page of referrers read, in bytes: what registries themselves accept.
	MaxManifest = 4 << 20
	// MaxBundle is the largest bundle or simple signing payload read, in bytes. Real ones have 2 to 20 KiB; attestations are larger.
	MaxBundle = bundle.MaxSize
	// MaxSignatures is the largest number of signatures looked at beside one image (CVE-2023-33957: unlimited attempts).
	MaxSignatures = 128
	// MaxReferrerPages and MaxReferrers bound the list of referrers, which may hold other things than signatures.
	MaxReferrerPages = 100
	MaxReferrers     = 1000
	// MaxAnnotations bounds the annotations of one .sig layer in bytes, names included; they are a bundle in other clothes.
	MaxAnnotations = 1 << 20
	// MaxManifestRequests is the largest number of requests for manifests and lists of them that one [Find] or [FindWithAttestations] makes: every page of
	// referrers, the manifest of each that may be evidence, and two tags.
	MaxManifestRequests = MaxReferrerPages + MaxSignatures + 2
)

// ErrTooMany is wrapped by the [*LookupError] that [Find] returns when more lies beside an image than [MaxSignatures], [MaxReferrers] or [MaxReferrerPages] allow. What
// is beyond isn't looked at, so the answer is incomplete: whoever may push can thereby prevent an admission, but never cause one.
var ErrTooMany = errors.New("more beside this image than is looked at")

// Source says where evidence is looked for: the physical repository, which may be another one than the name the user typed.
type Source struct {
	// Repository is the repository. With name.Insecure, and always for loopback and private addresses, HTTP is tried where HTTPS does not answer.
	Repository name.Repository
	// Transport carries the requests; nil is go-containerregistry's default. A *transport.Wrapper is taken as authenticated.
	// Throttled requests are repeated either way.
	Transport http.RoundTripper
	// Elsewhere carries the requests for evidence that a policy wants from another place: another repository, a lookaside. nil is
	// go-containerregistry's default. It never carries this repository's credentials.
	Elsewhere http.RoundTripper
	// Keychain finds the credentials for the repository; nil is anonymous.
	Keychain authn.Keychain
	// As names whose credentials Keychain finds, where one program asks for several people. Answers that were got for one are not given to another.
	As string
	// UserAgent is put in front of the User-Agent header; may be empty.
	UserAgent string
	// TagPrefix is put in front of the tags sha256-<hex>.sig and .att, as in the tagPrefix of a ClusterImagePolicy's source; usually empty. What
	// makes no tag is a [*LookupError] before anything is asked.
	TagPrefix string

	connected bool // by Connect: Transport repeats what is throttled
}

// Where is the place beside an image where a piece of evidence was found.
type Where string

// The places where [Find] looks.
const (
	Referrers    Where = "referrers"     // the referrers API
	ReferrersTag Where = "referrers-tag" // the index at the tag sha256-<hex>
	SigTag       Where = "sig-tag"       // the image at the tag sha256-<hex>.sig
	AttTag       Where = "att-tag"       // the image at the tag sha256-<hex>.att
)

// Found is the answer of [Find].
type Found struct {
	Evidence []Located // in the registry's order: referrers, .sig, .att
	Other    []Other   // what else refers to the image, in the registry's order
	Lookups  []Lookup  // every request that was made for it, in an order that depends on nothing but the answers
	// ManifestRequests is how many of the lookups asked for a manifest or a list of them, which is what registries count.
	ManifestRequests int
}

// Other is something beside an image that is no evidence that core/verify can check. All of it is what the registry, or whoever wrote it, says.
type Other struct {
	ArtifactType string  // cut at 255 bytes; may be empty
	Manifest     v1.Hash // may not have been looked at
	Name         string  // what it is, for people, such as "Notation signature"
}

// Located is one piece of evidence, or one thing that should have been one.
type Located struct {
	Where    Where
	Manifest v1.Hash // of the manifest that holds it
	Layer    int     // its index in the manifest's layers; 0 if the manifest itself is what can't be used
	Evidence *bundle.Evidence
	Err      error // why it can't be used; then Evidence is nil
}

// Lookup is one request to a registry and how it ended, for the verdict's record.
type Lookup struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Status int    `json:"status,omitempty"` // HTTP status after redirects; 0 if there was no answer
	Err    string `json:"error,omitempty"`  // what was wrong with the answer, if anything was
}

// ForManifest reports whether the request was for a manifest or a list of them, which is what registries count when they limit pulls.
func (l Lookup) ForManifest() bool {
	u, err := url.Parse(l.URL)
	if err != nil || l.Method != http.MethodGet {
		return false
	}
	kind := path.Base(path.Dir(u.Path))
	return kind == "manifests" || kind == "referrers"
}

// LookupError says that the registry could not be asked, or did not give an answer that can be used: no connection, 401, 403, 429 after retries, any 5xx,
// a body that is too large or does not have its digest. It never means that there is no signature.
type LookupError struct {
	URL    string // what was asked for, without credentials
	Status int    // HTTP status, 0 if there was none
	Err    error
}

// Error names the URL, the status if there was one, and the cause.
func (e *LookupError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("asking registry: %s: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("asking registry: %s: status %d: %v", e.URL, e.Status, e.Err)
}

// Unwrap gives the cause.
func (e *LookupError) Unwrap() error { return e.Err }

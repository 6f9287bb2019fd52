package skopeo_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/skopeo"
)

var (
	alice   = coretest.Email("alice@acme.example")
	mallory = coretest.Email("mallory@evil.example")
)

// wire is a registry in process, with a hook that can answer in its place, and a count of what it was sent.
type wire struct {
	*httptest.Server
	host string

	mu       sync.Mutex
	hook     func(http.ResponseWriter, *http.Request) bool // true: it answered
	requests []string
	uploaded int64
}

func newRegistry(tb testing.TB, referrersAPI bool) *wire {
	tb.Helper()
	inner := registry.New(registry.WithReferrersSupport(referrersAPI), registry.Logger(log.New(io.Discard, "", 0)))
	w := &wire{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		hook := w.hook
		w.requests = append(w.requests, r.Method+" "+r.URL.RequestURI())
		w.mu.Unlock()
		r.Body = &countedBody{ReadCloser: r.Body, w: w}
		if hook == nil || !hook(rw, r) {
			inner.ServeHTTP(rw, r)
		}
	}))
	tb.Cleanup(w.Close)
	w.host = strings.TrimPrefix(w.URL, "http://")
	return w
}

type countedBody struct {
	io.ReadCloser
	w *wire
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.w.uploaded += int64(n)
	return n, err
}

// intercept sets the hook and forgets the requests and bytes so far.
func (w *wire) intercept(hook func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook, w.requests, w.uploaded = hook, nil, 0
}

// seen gives the requests of a method whose URL has this in it.
func (w *wire) seen(method, part string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []string
	for _, r := range w.requests {
		if strings.HasPrefix(r, method+" ") && strings.Contains(r, part) {
			found = append(found, r)
		}
	}
	return found
}

func (w *wire) received() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.uploaded
}

func (w *wire) source(tb testing.TB, repo string) attach.Source {
	tb.Helper()
	r, err := name.NewRepository(w.host + "/" + repo)
	if err != nil {
		tb.Fatal(err)
	}
	return attach.Source{Repository: r}
}

// world is a Sigstore, a gate that wants alice's signature whatever the repository, and registries.
type world struct {
	*coretest.Sigstore
	gate *gate.Gate
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	s := coretest.New(tb)
	return &world{Sigstore: s, gate: newGate(tb, s, alice)}
}

func newGate(tb testing.TB, s *coretest.Sigstore, id identity.Identity) *gate.Gate {
	tb.Helper()
	m, err := identity.NewMatcher(identity.Spec{Issuer: id.Issuer, Subject: id.SAN.Value})
	if err != nil {
		tb.Fatal(err)
	}
	set := policy.Any(&policy.Authority{Name: "test", Identities: []*identity.Matcher{m}})
	g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{s.TrustedRoot(tb)}, Now: s.Clock.Now})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func (w *world) options() skopeo.Options { return skopeo.Options{Admitter: w.gate} }

// attach signs what has this digest, as a bundle or (with SimpleSigning) in the .sig tag.
func (w *world) attach(tb testing.TB, src attach.Source, subject v1.Descriptor, o coretest.SignOptions) {
	tb.Helper()
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(subject.Digest.Hex)); err != nil {
		tb.Fatal(err)
	}
	e := w.SignDigest(tb, sum, o)
	if e.Payload != nil {
		annotations, err := bundle.LegacyAnnotations(e)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := attach.WriteLegacy(tb.Context(), src, subject.Digest, e.Payload.Text, annotations); err != nil {
			tb.Fatal(err)
		}
		return
	}
	raw, err := bundle.Marshal(e)
	if err != nil {
		tb.Fatal(err)
	}
	predicateType := o.PredicateType
	if predicateType == "" {
		predicateType = verify.PredicateImageSignature
	}
	if _, err := attach.WriteBundle(tb.Context(), src, subject, raw, predicateType, coretest.Start); err != nil {
		tb.Fatal(err)
	}
}

// artifact writes a manifest with an artifactType, an empty config and one layer; at a tag, or else as a referrer of the subject.
func artifact(tb testing.TB, src attach.Source, subject *v1.Descriptor, tag, artifactType, content string) v1.Descriptor {
	tb.Helper()
	put := func(content string, mediaType types.MediaType) v1.Descriptor {
		layer := static.NewLayer([]byte(content), mediaType)
		if err := remote.WriteLayer(src.Repository, layer); err != nil {
			tb.Fatal(err)
		}
		digest, _ := layer.Digest()
		return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(content))}
	}
	manifest := map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": artifactType,
		"config": put("{}", "application/vnd.oci.empty.v1+json"), "layers": []v1.Descriptor{put(content, types.MediaType(artifactType))},
	}
	if subject != nil {
		manifest["subject"] = subject
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := attach.ParseManifest(types.OCIManifestSchema1, raw)
	if err != nil {
		tb.Fatal(err)
	}
	if err := attach.WriteManifest(tb.Context(), src, m, tag); err != nil {
		tb.Fatal(err)
	}
	if subject != nil {
		if err := attach.EnsureListed(tb.Context(), src, m); err != nil {
			tb.Fatal(err)
		}
	}
	return v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(raw))}
}

// dressed pushes an index of two platforms with all that can be attached: signatures in both forms on the index and one platform, a provenance attestation, an .att
// and an .sbom tag, an SBOM as a referrer, and a signature on that SBOM, in both forms.
func (w *world) dressed(tb testing.TB, reg *wire, repo string, seed int64) v1.Descriptor {
	tb.Helper()
	src := reg.source(tb, repo)
	index := coretest.Index(tb, seed)
	ref := coretest.Push(tb, reg.host+"/"+repo+":1", index)
	desc, err := remote.Head(ref)
	if err != nil {
		tb.Fatal(err)
	}
	children, err := index.IndexManifest()
	if err != nil {
		tb.Fatal(err)
	}
	for _, subject := range []v1.Descriptor{*desc, children.Manifests[0]} {
		w.attach(tb, src, subject, coretest.SignOptions{Identity: alice})
		w.attach(tb, src, subject, coretest.SignOptions{Identity: alice, Content: coretest.SimpleSigning})
	}
	w.attach(tb, src, *desc, coretest.SignOptions{Identity: alice, PredicateType: "https://slsa.dev/provenance/v1"})
	artifact(tb, src, nil, "sha256-"+desc.Digest.Hex+".att", "application/vnd.dsse.envelope.v1+json", `{"an":"attestation"}`)
	artifact(tb, src, nil, "sha256-"+desc.Digest.Hex+".sbom", "text/spdx+json", `{"an":"sbom"}`)
	sbom := artifact(tb, src, desc, "", "application/spdx+json", `{"another":"sbom"}`)
	w.attach(tb, src, sbom, coretest.SignOptions{Identity: alice})
	w.attach(tb, src, sbom, coretest.SignOptions{Identity: alice, Content: coretest.SimpleSigning})
	return *desc
}

// counts are what dressed attaches, as a result has them.
var dressedCounts = [4]int{6, 2, 2, 0}

func counts(r *skopeo.Result) [4]int { return [4]int{r.Signatures, r.Attestations, r.SBOMs, r.Others} }

func place(tb testing.TB, s string) skopeo.Place {
	tb.Helper()
	p, err := skopeo.ParsePlace(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func mustCopy(tb testing.TB, src, dst string, o skopeo.Options) *skopeo.Result {
	tb.Helper()
	r, err := skopeo.Copy(tb.Context(), place(tb, src), place(tb, dst), o)
	if err != nil {
		tb.Fatalf("copying %s to %s: %v", src, dst, err)
	}
	return r
}

// exists says whether a registry has a tag.
func exists(tb testing.TB, ref string) bool {
	tb.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = remote.Head(r)
	return err == nil
}

// wantError checks that an error says all of these.
func wantError(tb testing.TB, err error, parts ...string) {
	tb.Helper()
	if err == nil {
		tb.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			tb.Errorf("error %q does not say %q", err, part)
		}
	}
}

func isUsage(err error) bool {
	ue := (*skopeo.UsageError)(nil)
	return errors.As(err, &ue)
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

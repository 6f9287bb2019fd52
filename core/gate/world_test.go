package gate_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

const repository = "registry.example/acme/app"

var (
	alice   = coretest.Email("alice@acme.example")
	mallory = coretest.Email("mallory@evil.example")
)

// release is a policy that wants alice; further policies are appended to it.
const release = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: release
spec:
  images:
  - glob: "registry.example/acme/**"
  authorities:
  - name: team
    keyless:
      trustRootRef: test
      identities:
      - issuer: ` + coretest.Issuer + `
        subject: alice@acme.example
`

// world is a Sigstore, a registry with one image, and a gate in front of it.
type world struct {
	*coretest.Sigstore
	host  string
	root  *trust.Root
	clock *coretest.Clock // the gate's
	gate  *gate.Gate
	wire  *wire
	image name.Digest
}

func newWorld(tb testing.TB, policyText string) *world {
	tb.Helper()
	s := coretest.New(tb)
	w := &world{Sigstore: s, host: coretest.NewRegistry(tb, true), root: s.TrustedRoot(tb), clock: coretest.NewClock(coretest.Start), wire: &wire{}}
	w.gate = w.newGate(tb, policyText)
	w.image = w.push(tb, "v1", coretest.Image(tb, 1))
	return w
}

func (w *world) newGate(tb testing.TB, policyText string) *gate.Gate {
	tb.Helper()
	g, err := gate.New(gate.Config{Policy: parse(tb, policyText), Roots: []*trust.Root{w.root}, Now: w.clock.Now})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func parse(tb testing.TB, policyText string) *policy.Set {
	tb.Helper()
	set, err := policy.Parse(context.Background(), []byte(policyText), policy.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func (w *world) push(tb testing.TB, tag string, what remote.Taggable) name.Digest {
	tb.Helper()
	return coretest.Push(tb, w.host+"/acme/app:"+tag, what)
}

func (w *world) source(tb testing.TB) attach.Source {
	tb.Helper()
	repo, err := name.NewRepository(w.host + "/acme/app")
	if err != nil {
		tb.Fatal(err)
	}
	return attach.Source{Repository: repo, Transport: w.wire}
}

func hashOf(tb testing.TB, d name.Digest) v1.Hash {
	tb.Helper()
	h, err := v1.NewHash(d.DigestStr())
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func (w *world) request(tb testing.TB, d name.Digest, parents ...name.Digest) gate.Request {
	tb.Helper()
	req := gate.Request{Repository: repository, Digest: hashOf(tb, d), ParentsKnown: true, Source: w.source(tb)}
	for _, p := range parents {
		req.Parents = append(req.Parents, hashOf(tb, p))
	}
	return req
}

func (w *world) admit(tb testing.TB, d name.Digest, parents ...name.Digest) gate.Verdict {
	tb.Helper()
	return w.gate.Admit(context.Background(), w.request(tb, d, parents...))
}

// sign makes evidence about an image that was pushed.
func (w *world) sign(tb testing.TB, d name.Digest, o coretest.SignOptions) *bundle.Evidence {
	tb.Helper()
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(strings.TrimPrefix(d.DigestStr(), "sha256:"))); err != nil {
		tb.Fatal(err)
	}
	return w.SignDigest(tb, sum, o)
}

// attach writes evidence beside an image, in the form that it has.
func (w *world) attach(tb testing.TB, d name.Digest, e *bundle.Evidence) {
	tb.Helper()
	src := w.source(tb)
	src.Transport = nil // not through the wire that the test watches
	if e.Payload != nil {
		annotations, err := bundle.LegacyAnnotations(e)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := attach.WriteLegacy(tb.Context(), src, hashOf(tb, d), e.Payload.Text, annotations); err != nil {
			tb.Fatal(err)
		}
		return
	}
	raw, err := bundle.Marshal(e)
	if err != nil {
		tb.Fatal(err)
	}
	subject, err := remote.Head(d)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := attach.WriteBundle(tb.Context(), src, *subject, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
		tb.Fatal(err)
	}
}

func (w *world) signAs(tb testing.TB, d name.Digest, id identity.Identity) {
	tb.Helper()
	w.attach(tb, d, w.sign(tb, d, coretest.SignOptions{Identity: id}))
}

// wire counts what the gate asks the registry, and can answer in its place.
type wire struct {
	mu       sync.Mutex
	requests []string
	answer   func(*http.Request) (*http.Response, error) // nil, nil passes the request on
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests = append(w.requests, req.Method+" "+req.URL.Path)
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		if resp, err := answer(req); resp != nil || err != nil {
			return resp, err
		}
	}
	return http.DefaultTransport.RoundTrip(req)
}

func (w *wire) set(answer func(*http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// count gives the number of requests since the last call.
func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.requests)
	w.requests = nil
	return n
}

// require checks a verdict, and that no verdict but an admission admits.
func require(tb testing.TB, what string, v gate.Verdict, outcome gate.Outcome, code gate.Code) {
	tb.Helper()
	if v.Outcome != outcome || v.Code != code {
		tb.Errorf("%s: %s, %s (%s); want %s, %s", what, v.Outcome, v.Code, v.Reason, outcome, code)
	}
	if v.Admitted() != (outcome == gate.OutcomeAdmitted) {
		tb.Errorf("%s: admitted is %v, outcome %s", what, v.Admitted(), v.Outcome)
	}
	if v.Reason == "" || strings.ContainsAny(v.Reason, "\n\x1b\x00") {
		tb.Errorf("%s: reason is %q", what, v.Reason)
	}
	if v.Repository == "" || v.Digest == "" || v.DecidedAt.IsZero() {
		tb.Errorf("%s: verdict does not say what it is about, or of when: %+v", what, v)
	}
}

func policyDocument(name, mode, authorities string) string {
	return fmt.Sprintf("---\napiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: %s}\nspec:\n  mode: %s\n  images: [{glob: %q}]\n  authorities:\n%s",
		name, mode, "registry.example/acme/**", authorities)
}

func keyless(name, subject string) string {
	return fmt.Sprintf("  - name: %s\n    keyless: {trustRootRef: test, identities: [{issuer: %q, subject: %q}]}\n", name, coretest.Issuer, subject)
}

// mustHex is the bytes of a SHA-256 digest.
func mustHex(tb testing.TB, digest string) []byte {
	tb.Helper()
	sum, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

package parents_test

import (
	"context"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

const (
	logical = "registry.example/acme/app"
	release = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.example/acme/**"}]
  authorities:
  - name: team
    keyless: {trustRootRef: test, identities: [{issuer: "` + coretest.Issuer + `", subject: alice@acme.example}]}
`
)

// world is a Sigstore, a registry, and a gate in front of it.
type world struct {
	*coretest.Sigstore
	host  string
	wire  *wire
	clock *coretest.Clock
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	return &world{Sigstore: coretest.New(tb), host: coretest.NewRegistry(tb, true), wire: &wire{}, clock: coretest.NewClock(coretest.Start)}
}

// gate is a gate under the release policy and an index rule, with what else the
// site demands.
func (w *world) gate(tb testing.TB, rule, more string) *gate.Gate {
	tb.Helper()
	set, err := policy.Parse(tb.Context(), []byte(release+"---\napiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nmetadata: {name: site}\nspec:\n  index: "+rule+"\n"+more), policy.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{w.TrustedRoot(tb)}, Now: w.clock.Now})
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// finder is a Finder with a memory of its own, and the patience of a busy machine.
func (w *world) finder(tb testing.TB, rule string, edit ...func(*parents.Config)) *parents.Finder {
	tb.Helper()
	c := parents.Config{Admitter: w.gate(tb, rule, ""), Rule: func() policy.IndexRule { return policy.IndexRule(rule) }, Now: w.clock.Now, Patience: time.Minute}
	for _, e := range edit {
		e(&c)
	}
	f := parents.New(c)
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

func (w *world) source(tb testing.TB) attach.Source {
	tb.Helper()
	repo, err := name.NewRepository(w.host + "/acme/app")
	if err != nil {
		tb.Fatal(err)
	}
	return attach.Source{Repository: repo, Transport: w.wire}
}

func (w *world) push(tb testing.TB, tag string, what remote.Taggable) v1.Hash {
	tb.Helper()
	return hash(tb, coretest.Push(tb, w.host+"/acme/app:"+tag, what).DigestStr())
}

func hash(tb testing.TB, s string) v1.Hash {
	tb.Helper()
	h, err := v1.NewHash(s)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// multi is a multi-platform image that was pushed.
type multi struct {
	index     v1.Hash
	platforms []v1.Hash
}

func (w *world) pushIndex(tb testing.TB, tag string, seed int64) multi {
	tb.Helper()
	index := coretest.Index(tb, seed)
	m := multi{index: w.push(tb, tag, index)}
	manifest, err := index.IndexManifest()
	if err != nil {
		tb.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		m.platforms = append(m.platforms, d.Digest)
	}
	return m
}

// sign puts alice's signature beside each manifest.
func (w *world) sign(tb testing.TB, digests ...v1.Hash) {
	tb.Helper()
	src := w.source(tb)
	src.Transport = nil // not through the wire that the test watches
	for _, d := range digests {
		var sum [32]byte
		if _, err := hex.Decode(sum[:], []byte(d.Hex)); err != nil {
			tb.Fatal(err)
		}
		raw, err := bundle.Marshal(w.SignDigest(tb, sum, coretest.SignOptions{Identity: coretest.Email("alice@acme.example")}))
		if err != nil {
			tb.Fatal(err)
		}
		subject, err := remote.Head(src.Repository.Digest(d.String()))
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := attach.WriteBundle(tb.Context(), src, *subject, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
			tb.Fatal(err)
		}
	}
}

func (w *world) request(tb testing.TB, d v1.Hash) gate.Request {
	tb.Helper()
	return gate.Request{Repository: logical, Digest: d, Source: w.source(tb)}
}

// want checks an answer, and that nothing but an admission admits.
func want(tb testing.TB, what string, v gate.Verdict, code gate.Code) {
	tb.Helper()
	outcome := gate.OutcomeUndecided
	switch code {
	case gate.CodeAdmitted, gate.CodeObserved, gate.CodeException:
		outcome = gate.OutcomeAdmitted
	case gate.CodeUnsigned, gate.CodeNotAcceptable, gate.CodeRevoked:
		outcome = gate.OutcomeRefused
	}
	if v.Code != code || v.Outcome != outcome {
		tb.Errorf("%s: %s, %s (%s); want %s, %s", what, v.Outcome, v.Code, v.Reason, outcome, code)
	}
	if v.Reason == "" || v.DecidedAt.IsZero() || strings.ContainsAny(v.Reason, "\n\x1b\x00") {
		tb.Errorf("%s: verdict without a reason or time: %+v", what, v)
	}
}

// wire counts requests, and can answer in the registry's place.
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

// count gives the number of requests since the last call, and how many of them
// listed tags.
func (w *wire) count() (all, lists int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all = len(w.requests)
	for _, r := range w.requests {
		if strings.HasSuffix(r, "/tags/list") {
			lists++
		}
	}
	w.requests = nil
	return all, lists
}

// respond makes an answer.
func respond(req *http.Request, status int, contentType, body string, header ...string) *http.Response {
	rec := &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {contentType}}, Body: http.NoBody,
	}
	for i := 0; i < len(header); i += 2 {
		rec.Header.Set(header[i], header[i+1])
	}
	if req.Method != http.MethodHead {
		rec.Body = readCloser{strings.NewReader(body)}
	}
	return rec
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func admit(f *parents.Finder, req gate.Request) gate.Verdict {
	return f.Admit(context.Background(), req)
}

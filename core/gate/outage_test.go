package gate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// status answers with a status and, so that nothing is retried, a long wait.
func status(code int) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
			Header: http.Header{"Retry-After": {"3600"}}, Body: io.NopCloser(strings.NewReader("")),
		}, nil
	}
}

func failure(err error) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// at answers only where the path holds the text.
func at(path string, answer func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		if strings.Contains(req.URL.Path, path) {
			return answer(req)
		}
		return nil, nil
	}
}

// TestPX25_Outages breaks each lookup in each way. What cannot be decided is
// never "unsigned", never admitted, and is decided once the registry is back.
func TestPX25_PX32_A156_Outages(t *testing.T) {
	truncated := func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(resp.Body, 10), brokenReader{}))
		return resp, nil
	}
	w := newWorld(t, release)
	unsigned := w.image
	signed := w.push(t, "signed", coretest.Image(t, 2))
	w.signAs(t, signed, alice)
	w.attach(t, signed, w.sign(t, signed, coretest.SignOptions{Identity: alice, Content: coretest.SimpleSigning}))
	index := coretest.Index(t, 30)
	parent := w.push(t, "multi", index)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	child := parent.Context().Digest(manifest.Manifests[0].Digest.String())
	w.signAs(t, parent, alice)

	for _, fault := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
	}{
		{"500", status(500)}, {"502", status(502)}, {"503", status(503)}, {"504", status(504)}, {"507", status(507)},
		{"401", status(401)}, {"403", status(403)}, {"429", status(429)}, {"418", status(418)},
		{"refused", failure(syscall.ECONNREFUSED)}, {"no such host", failure(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true})},
		{"TLS", failure(errors.New("tls: failed to verify certificate"))}, {"deadline", failure(context.DeadlineExceeded)},
		{"truncated", truncated},
	} {
		code, ok := map[string]gate.Code{"401": gate.CodeForbidden, "403": gate.CodeForbidden, "429": gate.CodeThrottled}[fault.name]
		if !ok {
			code = gate.CodeLookupFailed
		}
		for _, where := range []string{"/v2/", "/referrers/", ".sig"} {
			if fault.name == "truncated" && where != "/referrers/" {
				continue // the ping's body is not read, and a missing tag has none
			}
			what := fault.name + " at " + where
			w.wire.set(at(where, fault.answer))
			v := w.admit(t, unsigned)
			require(t, what+", unsigned", v, gate.OutcomeUndecided, code)
			if strings.Contains(v.Reason, "not signed") || len(v.Lookups) == 0 {
				t.Errorf("%s: reason is %q, lookups %v", what, v.Reason, v.Lookups)
			}
			if where == "/v2/" {
				require(t, what+", child", w.admit(t, child, parent), gate.OutcomeUndecided, code)
				require(t, what+", signed", w.admit(t, signed), gate.OutcomeUndecided, code)
			}
		}
	}
	// Only the index that lists the child cannot be had.
	w.wire.set(at("/manifests/"+parent.DigestStr(), status(500)))
	require(t, "500 at the parent", w.admit(t, child, parent), gate.OutcomeUndecided, gate.CodeLookupFailed)
	// What was found before the outage and is good is good.
	w.wire.set(at(".sig", status(500)))
	require(t, "500 after a good signature", w.admit(t, signed), gate.OutcomeUndecided, gate.CodeLookupFailed)
	// No undecided verdict is given again.
	w.wire.set(nil)
	require(t, "back, unsigned", w.admit(t, unsigned), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "back, child", w.admit(t, child, parent), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "back, signed", w.admit(t, signed), gate.OutcomeAdmitted, gate.CodeAdmitted)
	// With the verdict cached, an outage does not matter.
	w.wire.set(status(500))
	require(t, "cached", w.admit(t, signed), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// TestLIB40_ObserveOutage: a policy that observes refuses nobody, also when the
// registry is down; a policy that enforces beside it still decides nothing.
func TestLIB40_ObserveOutage(t *testing.T) {
	observe := strings.Replace(release, "spec:\n", "spec:\n  mode: warn\n", 1)
	w := newWorld(t, observe)
	w.wire.set(status(500))
	v := w.admit(t, w.image)
	require(t, "observing", v, gate.OutcomeAdmitted, gate.CodeObserved)
	if strings.Contains(v.Reason, "not signed") {
		t.Errorf("an outage is reported as a missing signature: %q", v.Reason)
	}
	w = newWorld(t, observe+policyDocument("strict", "enforce", keyless("team", "alice@acme.example")))
	w.wire.set(status(500))
	require(t, "observing and enforcing", w.admit(t, w.image), gate.OutcomeUndecided, gate.CodeLookupFailed)
}

// TestCTRD04_Timeout: a registry that never answers ends in an undecided
// verdict, within the time that containerd gives.
func TestCTRD04_A073_Timeout(t *testing.T) {
	w := newWorld(t, release)
	req := w.request(t, w.image)
	synctest.Test(t, func(t *testing.T) {
		w.wire.set(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		start := time.Now()
		v := w.gate.Admit(t.Context(), req)
		if v.Outcome != gate.OutcomeUndecided || v.Admitted() {
			t.Errorf("%s, %s", v.Outcome, v.Code)
		}
		if d := time.Since(start); d >= 10*time.Second {
			t.Errorf("the verdict takes %v, containerd gives ten seconds", d)
		}
	})
}

// TestA136_MovedTag: a verdict belongs to a digest.
func TestA136_PX01_MovedTag(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	require(t, "signed", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
	moved := w.push(t, "v1", coretest.Image(t, 3)) // the same tag
	if moved.DigestStr() == w.image.DigestStr() {
		t.Fatal("the tag was not moved")
	}
	require(t, "moved", w.admit(t, moved), gate.OutcomeRefused, gate.CodeUnsigned)
	require(t, "the old digest", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// How long verdicts are given again.
const (
	refusedFor  = time.Second
	admittedFor = 10 * time.Minute
)

// TestPX22_PX23_LIB45_Cache is about how long a verdict is given again, and under what.
func TestPX22_PX23_LIB45_Cache(t *testing.T) {
	w := newWorld(t, release)
	asked := func(what string, want bool, outcome gate.Outcome, code gate.Code) {
		t.Helper()
		w.wire.count()
		v := w.admit(t, w.image)
		require(t, what, v, outcome, code)
		if n := w.wire.count(); n > 0 != want || v.Cached == want {
			t.Errorf("%s: %d requests, cached %v; want asked %v", what, n, v.Cached, want)
		}
	}
	asked("cold", true, gate.OutcomeRefused, gate.CodeUnsigned)
	asked("refusal, at once", false, gate.OutcomeRefused, gate.CodeUnsigned)
	w.signAs(t, w.image, alice)
	w.clock.Advance(refusedFor)
	asked("refusal, at the end of its time", false, gate.OutcomeRefused, gate.CodeUnsigned)
	w.clock.Advance(1)
	asked("refusal, after its time", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	asked("admission, at once", false, gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.clock.Advance(admittedFor)
	asked("admission, at the end of its time", false, gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.clock.Advance(1)
	asked("admission, after its time", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.clock.Advance(-time.Second)
	asked("the clock stepped back", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.clock.Advance(-10 * 365 * 24 * time.Hour)
	asked("the clock stepped back ten years", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	w.clock.Set(coretest.Start)
	asked("and forward", true, gate.OutcomeAdmitted, gate.CodeAdmitted)

	reload := func(text string) {
		t.Helper()
		if err := w.gate.Reload(parse(t, text), []*trust.Root{w.root}); err != nil {
			t.Fatal(err)
		}
	}
	reload(strings.Replace(release, "alice", "bob", 1))
	asked("another policy", true, gate.OutcomeRefused, gate.CodeNotAcceptable)
	reload(release)
	asked("the first policy again", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	other := newWorld(t, release)
	if err := w.gate.Reload(parse(t, release), []*trust.Root{other.root}); err != nil {
		t.Fatal(err)
	}
	asked("another trust root of this name", true, gate.OutcomeRefused, gate.CodeNotAcceptable)
	reload(release)
	asked("the first trust root again", true, gate.OutcomeAdmitted, gate.CodeAdmitted)
	if err := w.gate.Reload(nil, nil); err == nil {
		t.Fatal("a reload without policies succeeds")
	}
	asked("a reload that failed", false, gate.OutcomeAdmitted, gate.CodeAdmitted)

	// What is not in the key must not be answered from it.
	for name, change := range map[string]func(*gate.Request){
		"another repository": func(r *gate.Request) { r.Repository = "registry.example/acme/other" },
		"another source":     func(r *gate.Request) { r.Source.Repository.Registry = other.source(t).Repository.Registry },
		"another digest":     func(r *gate.Request) { r.Digest.Hex = strings.Repeat("0", 64) },
		"a parent":           func(r *gate.Request) { r.Parents = append(r.Parents, r.Digest) },
	} {
		req := w.request(t, w.image)
		change(&req)
		if v := w.gate.Admit(t.Context(), req); v.Cached {
			t.Errorf("%s: answered from the cache", name)
		}
	}
	asked("the same request", false, gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// TestLIB45_ProgramPolicies: policies that were made in a program have no digest
// that tells them apart.
func TestLIB45_ProgramPolicies(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	for range 2 {
		for subject, want := range map[string]gate.Outcome{alice.SAN.Value: gate.OutcomeAdmitted, mallory.SAN.Value: gate.OutcomeRefused} {
			set := anyBy(t, subject)
			if err := w.gate.Reload(set, []*trust.Root{w.root}); err != nil {
				t.Fatal(err)
			}
			if v := w.admit(t, w.image); v.Outcome != want {
				t.Errorf("wanted is %s: %s (%s)", subject, v.Outcome, v.Reason)
			}
		}
	}
}

// anyBy is the policy that the flags of "touchmark verify" make.
func anyBy(tb testing.TB, subject string) *policy.Set {
	tb.Helper()
	m, err := identity.NewMatcher(identity.Spec{Issuer: coretest.Issuer, Subject: subject})
	if err != nil {
		tb.Fatal(err)
	}
	return policy.Any(&policy.Authority{Name: "flags", Identities: []*identity.Matcher{m}})
}

// TestPX28_OneLookup: one lookup for everybody who asks at the same time, and
// for everybody who asks a moment later.
func TestPX28_OneLookup(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	w.admit(t, w.image)
	single := w.wire.count()
	w.clock.Advance(time.Hour)

	const callers = 100
	release, entered := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	w.wire.set(func(*http.Request) (*http.Response, error) {
		if once.CompareAndSwap(false, true) {
			close(entered)
		}
		<-release
		return nil, nil
	})
	req := w.request(t, w.image)
	verdicts := make(chan gate.Verdict, callers)
	impatient, cancel := context.WithCancelCause(t.Context())
	first := make(chan gate.Verdict, 1)
	go func() { first <- w.gate.Admit(impatient, req) }() // its lookup is the one that the others join
	<-entered
	for range callers {
		go func() { verdicts <- w.gate.Admit(context.Background(), req) }()
	}
	cancel(errors.New("the caller hung up"))
	v := <-first
	require(t, "the caller that went away", v, gate.OutcomeUndecided, gate.CodeCancelled)
	if !strings.Contains(v.Reason, "hung up") {
		t.Errorf("reason is %q", v.Reason)
	}
	close(release)
	for range callers {
		require(t, "a caller that stayed", <-verdicts, gate.OutcomeAdmitted, gate.CodeAdmitted)
	}
	if n := w.wire.count(); n != single {
		t.Errorf("%d requests for %d callers, want the %d of one", n, callers+1, single)
	}
	// A context that is over before the question is answered from the cache only.
	dead, cancelDead := context.WithCancel(t.Context())
	cancelDead()
	require(t, "warm, cancelled", w.gate.Admit(dead, req), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

// TestLIB36_Reload lets many callers ask while policies are exchanged: each
// verdict follows one of the two. Run it with -race.
func TestLIB36_Reload(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	bobs := strings.Replace(release, "alice", "bob", 1)
	req := w.request(t, w.image)
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			for range 20 {
				v := w.gate.Admit(context.Background(), req)
				if v.Code != gate.CodeAdmitted && v.Code != gate.CodeNotAcceptable {
					done <- fmt.Errorf("%s, %s: %s", v.Outcome, v.Code, v.Reason)
					return
				}
				if wants := strings.Contains(v.Reason, "wanted is bob"); wants != (v.Code == gate.CodeNotAcceptable) {
					done <- fmt.Errorf("a verdict of two minds: %s, %s", v.Code, v.Reason)
					return
				}
			}
			done <- nil
		}()
	}
	for i := range 20 {
		if err := w.gate.Reload(parse(t, []string{bobs, release}[i%2]), []*trust.Root{w.root}); err != nil {
			t.Fatal(err)
		}
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkAdmitWarm(b *testing.B) {
	w := newWorld(b, release)
	w.signAs(b, w.image, alice)
	req := w.request(b, w.image)
	if v := w.gate.Admit(b.Context(), req); !v.Admitted() {
		b.Fatal(v.Reason)
	}
	w.wire.count()
	b.ReportAllocs()
	for b.Loop() {
		if v := w.gate.Admit(context.Background(), req); !v.Cached {
			b.Fatal("not answered from the cache")
		}
	}
	if n := w.wire.count(); n != 0 {
		b.Errorf("%d requests for warm verdicts, want none", n)
	}
}

// BenchmarkAdmitCold asks a registry on this machine every time.
func BenchmarkAdmitCold(b *testing.B) {
	w := newWorld(b, release)
	w.signAs(b, w.image, alice)
	req := w.request(b, w.image)
	b.ReportAllocs()
	for b.Loop() {
		w.clock.Advance(time.Hour)
		if v := w.gate.Admit(context.Background(), req); !v.Admitted() || v.Cached {
			b.Fatal(v.Reason)
		}
	}
}

// A registry that says "not found" of the image itself says nothing of its
// signatures.
func TestA156_PX32_HiddenImage(t *testing.T) {
	w := newWorld(t, release)
	w.signAs(t, w.image, alice)
	unsigned := w.push(t, "unsigned", coretest.Image(t, 61))
	require(t, "signed", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
	require(t, "unsigned", w.admit(t, unsigned), gate.OutcomeRefused, gate.CodeUnsigned)
	w.clock.Advance(11 * time.Minute) // past what is cached
	w.wire.set(at("/acme/app/", status(404)))
	require(t, "hidden", w.admit(t, w.image), gate.OutcomeUndecided, gate.CodeLookupFailed)
	w.wire.set(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodHead {
			return status(503)(req)
		}
		return at("/acme/app/", status(404))(req)
	})
	require(t, "hidden, then down", w.admit(t, w.image), gate.OutcomeUndecided, gate.CodeLookupFailed)
	w.wire.set(nil)
	require(t, "seen again", w.admit(t, w.image), gate.OutcomeAdmitted, gate.CodeAdmitted)
}

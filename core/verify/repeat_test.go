package verify_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// answer is everything that a verification says.
type answer struct {
	Result *verify.Result
	Code   verify.Code
	Error  string
	Checks []verify.Check
	Signer *verify.Signer
}

func ask(in verify.Input) answer {
	result, err := verify.Verify(in)
	a := answer{Result: result}
	if err != nil {
		a.Error = err.Error()
		if refused, ok := err.(*verify.Error); ok {
			a.Code, a.Checks, a.Signer = refused.Code, refused.Checks, refused.Signer
		}
	}
	return a
}

// questions are inputs of which some are accepted, and others refused late, with
// several authorities, logs and identities to choose from.
func questions(tb testing.TB, w *world) map[string]verify.Input {
	tb.Helper()
	other := newWorld(tb)
	root := w.Root()
	root.CertificateAuthorities = append(other.root.CertificateAuthorities, root.CertificateAuthorities...)
	root.TimestampAuthorities = append(other.root.TimestampAuthorities, root.TimestampAuthorities...)
	root.CTLogs = append(other.root.CTLogs, root.CTLogs...)
	in := make(map[string]verify.Input)
	for name, options := range forms(w) {
		i := w.input(tb, w.sign(tb, options))
		i.Root = root
		in[name] = i
		i.Signer = verify.Keyless(exactly(tb, mallory), exactly(tb, coretest.Email("eve@evil.example")))
		in[name+", another identity"] = i
	}
	e := w.sign(tb, coretest.SignOptions{Log: w.V2})
	e.Timestamps = append(e.Timestamps, other.TSA.Stamp(tb, []byte("x"), coretest.Start), []byte("garbage"))
	in["several timestamps"] = verify.Input{Evidence: e, Artifact: verify.SHA256(digest), Signer: verify.Keyless(exactly(tb, alice)), Root: root}
	bad := clone(e)
	bad.Timestamps = bad.Timestamps[1:]
	in["several bad timestamps"] = verify.Input{Evidence: bad, Artifact: verify.SHA256(digest), Signer: verify.Keyless(exactly(tb, alice)), Root: root}
	foreign := w.sign(tb, coretest.SignOptions{Certificate: change(func(s *spec) { s.CA = coretest.NewCA(tb, coretest.Start) })})
	in["an unknown authority"] = verify.Input{Evidence: foreign, Artifact: verify.SHA256(digest), Signer: verify.Keyless(exactly(tb, alice)), Root: root}
	return in
}

// TestA057_Repeated asks 1,000 times with one input, and a hundred times with each of the others; with -short a twentieth of that.
func TestA057_Repeated(t *testing.T) {
	t.Parallel()
	all := questions(t, newWorld(t))
	for name, in := range all {
		before, root := clone(in.Evidence), coretest.FormatRoot(t, in.Root)
		times := 100
		if name == "several bad timestamps" {
			times = 1000
		}
		if testing.Short() {
			times /= 20
		}
		want := ask(in)
		for range times {
			if diff := cmp.Diff(want, ask(in)); diff != "" {
				t.Fatalf("%s: the answers differ:\n%s", name, diff)
			}
		}
		if diff := cmp.Diff(before, in.Evidence); diff != "" {
			t.Errorf("%s: verifying changed the evidence:\n%s", name, diff)
		}
		if !bytes.Equal(root, coretest.FormatRoot(t, in.Root)) {
			t.Errorf("%s: verifying changed the trust root", name)
		}
	}
}

// TestLIB36_Shared lets many goroutines share evidence, matchers and two trust
// roots that are exchanged under way. Run it with -race.
func TestLIB36_Shared(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	e := w.sign(t, coretest.SignOptions{})
	roots := []*trust.Root{w.root, other.root}
	in := w.input(t, e)
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for g := range 16 {
		wg.Go(func() {
			for i := range 25 {
				in := in
				in.Root = roots[(g+i)%2]
				_, err := verify.Verify(in)
				if accepted := err == nil; accepted != (in.Root == w.root) {
					errs <- fmt.Errorf("under root %d: %w", (g+i)%2, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

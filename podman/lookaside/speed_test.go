package lookaside_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/trust"
)

// Two hundred pulls of one image at once cost one signature.
func TestManyPullsAtOnce(t *testing.T) {
	url := serve(t, config(&verdicts{by: map[string]gate.Verdict{repository: admitted}}))
	var mu sync.Mutex
	blobs := map[string]int{}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			res, err := http.Get(signatureURL(url, repository, 1))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			blob, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("status %d, %v", res.StatusCode, err)
			}
			mu.Lock()
			defer mu.Unlock()
			blobs[string(blob)]++
		})
	}
	wg.Wait()
	if len(blobs) != 1 {
		t.Errorf("%d different answers", len(blobs))
	}
}

// BenchmarkKnownVerdict is what a client waits for in a pull whose verdict is known: two questions.
func BenchmarkKnownVerdict(b *testing.B) {
	url := serve(b, config(&verdicts{by: map[string]gate.Verdict{repository: admitted}}))
	for b.Loop() {
		get(b, url, repository, 1)
		get(b, url, repository, 2)
	}
}

// BenchmarkNewSignature is the same, but the countersignature is made, too, with a key of the size that hosts have.
func BenchmarkNewSignature(b *testing.B) {
	key := largeKey(b)
	for b.Loop() {
		c := config(&verdicts{by: map[string]gate.Verdict{repository: admitted}})
		c.Key = key()
		url := serve(b, c)
		get(b, url, repository, 1)
		get(b, url, repository, 2)
	}
}

// BenchmarkFirstSight is what a client waits for at the first pull of an image: the question, the registry's answers, the verification, the countersignature.
func BenchmarkFirstSight(b *testing.B) {
	w := newWorld(b)
	d := w.push(b, "good", 1, "alice@acme.example")
	key := largeKey(b)
	requests := 0
	for b.Loop() {
		g, err := gate.New(gate.Config{Policy: w.rules, Roots: []*trust.Root{w.TrustedRoot(b)}})
		if err != nil {
			b.Fatal(err)
		}
		c := w.config()
		c.Key = key()
		c.Admitter = admitterFunc(func(ctx context.Context, req gate.Request) gate.Verdict {
			v := g.Admit(ctx, req)
			requests = len(v.Lookups)
			return v
		})
		url := fmt.Sprintf("%s/lookaside/%s/acme/app@%s/signature-1", serve(b, c), w.outer, strings.Replace(d.DigestStr(), ":", "=", 1))
		res, err := http.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		blob, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || len(blob) == 0 || blob[0] == 0 {
			b.Fatalf("status %d, %q", res.StatusCode, blob)
		}
	}
	b.ReportMetric(float64(requests), "lookups/op")
}

type admitterFunc func(context.Context, gate.Request) gate.Verdict

func (f admitterFunc) Admit(ctx context.Context, req gate.Request) gate.Verdict { return f(ctx, req) }

// largeKey makes a key as hosts have it, and opens it without what it has signed.
func largeKey(b *testing.B) func() *countersign.Key {
	b.Helper()
	dir := b.TempDir()
	c := countersign.Config{Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "public")}
	if _, err := countersign.Generate(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	return func() *countersign.Key {
		b.StopTimer()
		defer b.StartTimer()
		key, err := countersign.Open(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		return key
	}
}

package podman_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// sights is how many images are seen for the first time, in the course of one benchmark; signing one takes half a second.
const sights = 12

// signatures asks a lookaside as clients do: for signature-1, and on until there is none.
func signatures(b *testing.B, a *agent, image, digest string) {
	b.Helper()
	registry, path, _ := strings.Cut(strings.TrimSuffix(image, ":1"), "/")
	for n := 1; ; n++ {
		resp, err := http.Get(fmt.Sprintf("http://%s/lookaside/%s/%s@%s/signature-%d", a.address, registry, path, strings.Replace(digest, ":", "=", 1), n))
		if err != nil {
			b.Fatal(err)
		}
		blob, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			b.Fatal(err)
		case resp.StatusCode == http.StatusNotFound && n > 1:
			return
		case resp.StatusCode != http.StatusOK || blob[0] == 0:
			b.Fatalf("%d: %s", resp.StatusCode, blob)
		}
	}
}

// What a client waits for the agent: an image that is known, and the first sight of one, with a registry on this machine.
func BenchmarkLookaside(b *testing.B) {
	s := newSite(b)
	a := s.enforce(b, s.host(b, lab.Debian13).Root())
	var images, digests []string
	for i := range sights {
		images = append(images, s.push(b, fmt.Sprintf("team/app%d", i), alice))
		digests = append(digests, digestOf(b, images[i]))
	}
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			signatures(b, a, images[0], digests[0])
		}
	})
	b.Run("first sight", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			// Only a start without memory makes an image new again.
			b.StopTimer()
			a.Kill()
			a.account.Must(b, 0, "sh", "-c", "rm -rf /var/lib/touchmark/*.db*")
			a.start(b)
			b.StartTimer()
			for i := range images {
				start := time.Now()
				signatures(b, a, images[i], digests[i])
				took = append(took, time.Since(start))
			}
		}
		b.ReportMetric(milliseconds(took), "ms/image")
	})
}

// Whole pulls by skopeo, by turns: without Touchmark, of an image that is known, and of one at first sight. The figures are medians.
func BenchmarkPull(b *testing.B) {
	s := newSite(b)
	plain, enforcing := s.host(b, lab.Debian13).Root(), s.host(b, lab.Debian13).Root()
	s.enforce(b, enforcing)
	var images []string
	for i := range sights {
		images = append(images, s.push(b, fmt.Sprintf("team/app%d", i), alice))
	}
	pull := func(a lab.Account, image string) time.Duration {
		a.Must(b, 0, "rm", "-rf", "/root/copy")
		start := time.Now()
		a.Must(b, 0, "skopeo", "copy", "-q", "docker://"+image, "dir:/root/copy")
		return time.Since(start)
	}
	pull(enforcing, images[0])
	var without, known, first []time.Duration
	for b.Loop() {
		without, known = append(without, pull(plain, images[0])), append(known, pull(enforcing, images[0]))
		if n := len(first) + 1; n < len(images) {
			first = append(first, pull(enforcing, images[n]))
		}
	}
	base := milliseconds(without)
	b.ReportMetric(base, "ms/pull-without")
	b.ReportMetric(milliseconds(known)-base, "ms/known-added")
	b.ReportMetric(milliseconds(first)-base, "ms/first-sight-added")
}

// milliseconds is the median.
func milliseconds(took []time.Duration) float64 {
	slices.Sort(took)
	return float64(took[len(took)/2].Microseconds()) / 1000
}

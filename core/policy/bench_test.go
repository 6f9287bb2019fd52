package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// many is a file of policies as a large site has them: most about one team's
// repositories, some about a whole registry.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		glob := fmt.Sprintf("registry.example/team-%d/**", i)
		switch i % 10 {
		case 0:
			glob = fmt.Sprintf("registry.example/team-%d*/app", i)
		case 1:
			glob = fmt.Sprintf("**/service-%d", i)
		case 2:
			glob = fmt.Sprintf("r%d.example/*/app-*", i)
		}
		fmt.Fprintf(&b, `---
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: p%d}
spec:
  images:
  - glob: %q
  authorities:
  - name: team
    keyless:
      trustRootRef: private
      identities:
      - issuer: https://login.acme.example
        subject: team-%d@acme.example
`, i, glob, i)
	}
	return b.String()
}

// maxLookup is what finding the policies about an image may take, among
// 10,000. The race detector multiplies it.
const maxLookup = 50 * time.Microsecond

// BenchmarkFor finds the policies about an image among 10,000.
func BenchmarkFor(b *testing.B) {
	set, err := Parse(b.Context(), []byte(many(10_000)), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if n := len(set.For("registry.example/team-4713/service-4711")); n != 2 {
			b.Fatalf("%d policies match, want 2", n)
		}
	}
	if b.N > 100 && b.Elapsed()/time.Duration(b.N) > maxLookup {
		b.Errorf("takes %s, want at most %s", b.Elapsed()/time.Duration(b.N), maxLookup)
	}
}

// BenchmarkParse reads a file of 10,000 policies.
func BenchmarkParse(b *testing.B) {
	text := []byte(many(10_000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(b.Context(), text, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestIndexMatchesAll holds the index against trying every pattern.
func TestIndexMatchesAll(t *testing.T) {
	set, err := Parse(t.Context(), []byte(many(300)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		for _, repository := range []string{
			fmt.Sprintf("registry.example/team-%d/app", i), fmt.Sprintf("registry.example/team-%dx/app", i), fmt.Sprintf("registry.example/team-%d", i),
			fmt.Sprintf("r%d.example/x/app-1", i), fmt.Sprintf("r%d.example/x/y/app-1", i), fmt.Sprintf("any/service-%d", i),
		} {
			var want, got []string
			for _, p := range set.Policies {
				if p.patterns[0].matches(repository) {
					want = append(want, p.Name)
				}
			}
			for _, p := range set.For(repository) {
				got = append(got, p.Name)
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%s: the index finds %v, want %v", repository, got, want)
			}
		}
	}
}

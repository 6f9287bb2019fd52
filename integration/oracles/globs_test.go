package oracles

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	controllerglob "github.com/sigstore/policy-controller/pkg/apis/glob"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/policy"
)

// TestGlobs holds our globs against policy-controller's matcher, which its webhook asks about the name of an image by digest. Where they differ, the
// difference is one that docs/policy.md has.
func TestGlobs(t *testing.T) {
	hosts := []string{"registry.example", "registry.example:5000", "*.example", "registry.*", "**", "*", "localhost:5000", "index.docker.io", "docker.io", ""}
	paths := []string{"*", "**", "acme/*", "acme/**", "acme/app", "acme/app*", "acme/*/deep*", "acme/**/deep*", "*/app*", "**/app*", "ac*e/a*p", "acme/app**", "nginx", "nginx*", "library/*"}
	repositories := []string{
		"registry.example/acme/app", "registry.example/acme/app-two", "registry.example/acme/team/deep", "registry.example/acme/a/b/deep", "registry.example/app",
		"registry.example:5000/acme/app", "other.example/acme/app", "registry.other/acme/app", "evil-registry.example.evil/acme/app", "localhost:5000/acme/app",
		"index.docker.io/library/nginx", "index.docker.io/acme/app", "registry.example/acme", "registry.example/acmeapp",
	}
	differences := make(map[string]int)
	pairs := 0
	for _, host := range hosts {
		for _, path := range paths {
			g := strings.TrimPrefix(host+"/"+path, "/")
			set, err := policy.Parse(t.Context(), fmt.Appendf(nil, "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec: {images: [{glob: %q}], authorities: [{static: {action: pass}}]}\n", g), policy.Options{})
			if err != nil {
				t.Errorf("glob %q: %v", g, err)
				continue
			}
			for _, repository := range repositories {
				ref, err := name.NewDigest(repository + "@sha256:" + strings.Repeat("a", 64))
				if err != nil {
					t.Fatal(err)
				}
				theirs, err := controllerglob.Match(g, ref.Name())
				if err != nil {
					t.Errorf("glob %q: policy-controller: %v", g, err)
				}
				ours := len(set.For(attach.LogicalName(ref.Context()))) > 0
				pairs++
				if ours != theirs {
					why := globDifference(g, ours)
					if why == "" {
						t.Errorf("glob %q, %s: ours matches: %v, policy-controller's: %v", g, ref.Context(), ours, theirs)
					}
					differences[why]++
				}
			}
		}
	}
	documented := documentedDifferences(t)
	for why, n := range differences {
		t.Logf("%4d of %d pairs differ: %s", n, pairs, why)
		if !slices.Contains(documented, why) {
			t.Errorf("docs/policy.md has no row %q", why)
		}
	}
	if pairs < 200 {
		t.Errorf("%d pairs are too few", pairs)
	}
}

// globDifference is the row of docs/policy.md that says why ours matches and policy-controller's doesn't, or the other way round.
func globDifference(g string, ours bool) string {
	host, _, found := strings.Cut(g, "/")
	hub := host == "docker.io" || host == "index.docker.io" || !found || !strings.ContainsAny(host, ".:") && !strings.Contains(host, "**")
	switch {
	case ours && !strings.HasSuffix(g, "*"):
		return wholeGlobs
	case ours && hub:
		return "names of Docker Hub"
	}
	return ""
}

package attach_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

// The package comment's table: registries count requests for manifests.
func TestManifestRequests(t *testing.T) {
	tests := []struct {
		name  string
		write func(t *testing.T, reg *testRegistry, subject v1.Descriptor)
		n     int // referrers that are bundles
	}{
		{"nothing", func(*testing.T, *testRegistry, v1.Descriptor) {}, 0},
		{".att only", func(t *testing.T, reg *testRegistry, subject v1.Descriptor) { reg.writeAttestation(t, subject, 1) }, 0},
		{".sig only", func(t *testing.T, reg *testRegistry, subject v1.Descriptor) { reg.writeLegacy(t, subject, 1) }, 0},
		{"one bundle", func(t *testing.T, reg *testRegistry, subject v1.Descriptor) { reg.writeBundle(t, subject, 1) }, 1},
		{"three bundles and .sig", func(t *testing.T, reg *testRegistry, subject v1.Descriptor) {
			for n := range 3 {
				reg.writeBundle(t, subject, n)
			}
			reg.writeLegacy(t, subject, 9)
		}, 3},
	}
	for _, tt := range tests {
		for _, api := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, API %t", tt.name, api), func(t *testing.T) {
				reg := newRegistry(t, api)
				subject := reg.image(t)
				tt.write(t, reg, subject)
				want := 2 + tt.n
				if !api {
					want++
				}
				reg.forget()
				checkRequests(t, reg, find(t, reg.src, subject.Digest), want)
				reg.forget()
				found, err := attach.FindWithAttestations(t.Context(), reg.src, subject.Digest)
				if err != nil {
					t.Fatal(err)
				}
				checkRequests(t, reg, found, want+1)
			})
		}
	}
}

// checkRequests holds the number of manifest requests against what the registry saw.
func checkRequests(t *testing.T, reg *testRegistry, found attach.Found, want int) {
	t.Helper()
	seen := 0
	for _, r := range reg.seen() {
		if strings.HasPrefix(r, "GET manifests/") || strings.HasPrefix(r, "GET referrers/") {
			seen++
		}
	}
	if seen != want || found.ManifestRequests != want {
		t.Errorf("%d manifest requests were made, %d counted, want %d: %q", seen, found.ManifestRequests, want, reg.seen())
	}
}

// Nothing that a registry says makes for more requests than are documented.
func TestPX32_MaxManifestRequests(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	page := 0
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		if page++; page < attach.MaxReferrerPages {
			w.Header().Set("Link", `<?last=x>; rel="next"`)
		}
		n := 1
		if page <= attach.MaxSignatures-attach.MaxReferrerPages {
			n = 2
		}
		writeIndex(w, n, 2*page)
		return true
	})
	found, err := attach.FindWithAttestations(t.Context(), reg.src, subject.Digest)
	if err != nil {
		t.Fatal(err)
	}
	checkRequests(t, reg, found, attach.MaxManifestRequests)
}

// Equal answers make equal records, whichever came first.
func TestFindIsTheSameEachTime(t *testing.T) {
	reg := newRegistry(t, false) // whose list has an order
	subject := reg.image(t)
	for n := range 9 {
		reg.writeBundle(t, subject, n)
	}
	reg.writeLegacy(t, subject, 10)
	reg.writeAttestation(t, subject, 11)
	first := find(t, reg.src, subject.Digest)
	for range 50 {
		if diff := cmp.Diff(first, find(t, reg.src, subject.Digest)); diff != "" {
			t.Fatalf("another answer (-first +now):\n%s", diff)
		}
	}
}

func TestTagPrefix(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.src.TagPrefix = "team_a."
	reg.writeLegacy(t, subject, 1)
	reg.read(t, "manifests/team_a.sha256-"+subject.Digest.Hex+".sig")
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || errs != nil {
		t.Errorf("found %v, %v", got, errs)
	}
	reg.forget()
	for _, prefix := range []string{"-x", "a/b", "../", "a:b", "ä", "x\n", strings.Repeat("x", 54)} {
		reg.src.TagPrefix = prefix
		_, err := attach.Find(t.Context(), reg.src, subject.Digest)
		checkLookupError(t, err, 0, "/team/app")
	}
	if got := reg.seen(); len(got) != 0 {
		t.Errorf("requests %q", got)
	}
	for _, prefix := range []string{"", strings.Repeat("x", 53)} {
		reg.src.TagPrefix = prefix
		if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 0 || errs != nil {
			t.Errorf("another prefix: found %v, %v", got, errs)
		}
	}
}

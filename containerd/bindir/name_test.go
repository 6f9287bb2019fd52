package bindir

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/attach"
)

// What is taken for a name is one to the library by which everybody else reads names,
// and means the same to it.
func FuzzNames(f *testing.F) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, s := range []string{
		"registry.example/app:1", "registry.example:5000/a/b:1@" + digest, "docker.io/library/busybox:1", "docker.io/busybox:1", "index.docker.io/a/b:1", "[::1]:5000/a:1", "localhost/a:1",
		"registry.example:/a:1", "registry.example:443/a@" + digest, "a.b/c", "a.b/c@", "a.b/c:@" + digest, "a.b/c:1:2", "a.b:x/c:1", "user@a.b/c:1", "a.b?x/c:1", "a%41.b/c:1", "A.B/c:1", "a.b/" + strings.Repeat("c", 256) + ":1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := subject(s, digest)
		if err != nil {
			return
		}
		ref, err := name.ParseReference(s, name.StrictValidation)
		if err != nil {
			t.Fatalf("%q is a name: %v", s, err)
		}
		_, byDigest := ref.(name.Digest)
		physical, err := name.NewRepository(q.Physical)
		if err != nil || physical.Name() != ref.Context().Name() || q.Repository != attach.LogicalName(ref.Context()) || q.ParentsKnown == byDigest {
			t.Errorf("%q is %+v, and to the library %s (%v)", s, q, ref.Name(), err)
		}
	})
}

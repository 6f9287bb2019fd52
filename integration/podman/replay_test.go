package podman_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// fetch asks a lookaside for the first signature of an image.
func fetch(t *testing.T, a *agent, image, digest string) []byte {
	t.Helper()
	registry, path, _ := strings.Cut(strings.TrimSuffix(image, ":1"), "/")
	resp, err := http.Get(fmt.Sprintf("http://%s/lookaside/%s/%s@%s/signature-1", a.address, registry, path, strings.Replace(digest, ":", "=", 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	blob, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v: %s", resp.StatusCode, err, blob)
	}
	return blob
}

// A countersignature that somebody recorded and serves in the agent's place is good for the same digest in the same repository, and for ten minutes.
func TestPOD08_ReplayedCountersignatures(t *testing.T) {
	for _, system := range []lab.System{lab.Debian12, lab.Debian13} {
		t.Run(string(system), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			good, unsigned := s.push(t, "team/good", alice), s.push(t, "team/unsigned", "")
			digest := digestOf(t, good)
			sameDigest, sameRepository := s.Registry+"/team/elsewhere:1", s.Registry+"/team/good:2"
			coretest.Push(t, sameDigest, lab.Busybox(t, "team/good"))
			coretest.Push(t, sameRepository, lab.Busybox(t, "something else"))
			h := s.host(t, system)
			a := s.enforce(t, h.Root())
			recorded := fetch(t, a, good, digest)
			key, err := countersign.Open(t.Context(), countersign.Config{Key: h.Path("/etc/touchmark/podman/countersign.key"), Public: h.Path(keyring)})
			if err != nil {
				t.Fatal(err)
			}
			old, err := key.OpenPGP(strings.TrimSuffix(good, ":1"), digest, time.Now().Add(-countersign.MaxValidity-time.Second))
			if err != nil {
				t.Fatal(err)
			}

			a.Kill()
			var served atomic.Pointer[[]byte]
			l, err := net.Listen("tcp", a.address)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/signature-1") {
					http.NotFound(w, r)
					return
				}
				w.Write(*served.Load())
			})}
			t.Cleanup(func() { server.Close() })
			go server.Serve(l)
			for _, c := range []struct {
				image string
				blob  []byte
				want  string // in the refusal; empty if it is pulled
			}{
				{good, recorded, ""},
				{good, old, "invalid gpg signature"},
				{unsigned, recorded, "does not match"},
				{sameDigest, recorded, "is not accepted"},
				{sameRepository, recorded, "does not match"},
			} {
				served.Store(&c.blob)
				for _, args := range [][]string{{"podman", "pull", "-q", c.image}, {"skopeo", "copy", "-q", "docker://" + c.image, "dir:/root/copy"}} {
					r := h.Root().Run(t, args...)
					if (r.Status == 0) != (c.want == "") || !strings.Contains(strings.ToLower(r.Output()), c.want) {
						t.Errorf("%s: status %d, want %q: %s", args, r.Status, c.want, r.Output())
					}
				}
			}
		})
	}
}

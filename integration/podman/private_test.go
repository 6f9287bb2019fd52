package podman_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// digestOf is an image's digest.
func digestOf(t testing.TB, image string) string {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

// ask asks an agent's lookaside about an image, as a user. The answer names neither the image's repository nor its digest.
func ask(t *testing.T, a *agent, as lab.Account, image, digest string) string {
	t.Helper()
	registry, path, _ := strings.Cut(strings.TrimSuffix(image, ":1"), "/")
	url := fmt.Sprintf("http://%s/lookaside/%s/%s@%s/signature-1", a.address, registry, path, strings.Replace(digest, ":", "=", 1))
	r := as.Run(t, "busybox", "wget", "-q", "-O", "-", url)
	return strings.NewReplacer(path, "PATH", digest, "DIGEST").Replace(r.Output())
}

// Alice, whose credentials lie in her runtime directory alone, pulls a private image through her own agent. Bob, who has none, learns from no agent of the host
// that it exists, and who signed it; nor does alice from the host's, which has credentials of root's.
func TestPOD13_PrivateImages(t *testing.T) {
	s := newSite(t)
	image := s.push(t, "team/private", alice)
	digest := digestOf(t, image)
	nowhere := fmt.Sprintf("sha256:%x", coretest.Digest(t, lab.Busybox(t, "nowhere")))
	s.registry.trouble(func(r *recorder) { r.password = "secret" })
	h := s.host(t, lab.Debian13)
	root, user, bob := h.Root(), h.Alice(), h.Bob()
	login := []string{"podman", "login", "-u", "alice", "-p", "secret", s.registry.Host}
	root.Must(t, 0, login...)
	system := s.enforce(t, root)
	root.Must(t, 0, "podman", "pull", "-q", image)

	user.Must(t, 0, login...)
	if r := user.Run(t, "podman", "pull", "-q", image); r.Status == 0 || !strings.Contains(r.Output(), "set up an agent of your own") || strings.Contains(r.Output(), alice) {
		t.Errorf("alice, by the host's agent: status %d: %s", r.Status, r.Output())
	}
	own := s.enforce(t, user)
	user.Must(t, 0, "podman", "run", "--rm", "--network", "none", image)
	unsigned := s.registry.Host + "/team/unsigned:1"
	s.registry.trouble(func(r *recorder) { r.password = "" })
	coretest.Push(t, unsigned, lab.Busybox(t, "unsigned"))
	s.registry.trouble(func(r *recorder) { r.password = "secret" })
	if r := user.Run(t, "podman", "pull", "-q", unsigned); r.Status == 0 || !strings.Contains(r.Output(), "is not signed") {
		t.Errorf("alice's unsigned image: status %d: %s", r.Status, r.Output())
	}

	for name, a := range map[string]*agent{"the host's agent": system, "alice's agent": own} {
		there, not := ask(t, a, bob, image, digest), ask(t, a, bob, s.registry.Host+"/team/nowhere:1", nowhere)
		if there != not {
			t.Errorf("%s tells bob of an image that exists %q, and of one that doesn't %q", name, there, not)
		}
		if there == "" || strings.Contains(there, alice) || strings.Contains(there, "not signed") {
			t.Errorf("%s tells bob %q", name, there)
		}
	}
	bob.Must(t, 125, "podman", "pull", "-q", image)
}

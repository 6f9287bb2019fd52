package podman_test

import (
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const (
	alice   = "alice@acme.example"
	mallory = "mallory@evil.example"
)

// site is a Sigstore and two registries. The policy demands alice's signature of what is in the first one, and says nothing of the other.
type site struct {
	*lab.World
	registry, other *recorder
	policy          string // file
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{World: lab.New(t, true), registry: newRecorder(t), other: newRecorder(t)}
	s.Registry = s.registry.Host
	s.policy = s.Policy(t)
	return s
}

// push pushes an image that prints its own name when it runs, signed by somebody or by nobody.
func (s *site) push(t testing.TB, repository, signer string) string {
	t.Helper()
	image := s.Registry + "/" + repository + ":1"
	coretest.Push(t, image, lab.Busybox(t, repository))
	if signer != "" {
		lab.Touchmark(t, 0, "sign", "--server", s.Stack.URL, "--as", signer, "--trusted-root", s.Root, image)
	}
	return image
}

// host starts a host that reaches both registries, and does not know Touchmark.
func (s *site) host(t testing.TB, system lab.System) *lab.Host {
	t.Helper()
	h := lab.NewHost(t, system)
	var conf string
	for _, r := range []*recorder{s.registry, s.other} {
		conf += fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", r.Host)
	}
	h.Write(t, "/etc/containers/registries.conf", conf)
	h.Write(t, "/etc/containers/policy.json", `{"default": [{"type": "insecureAcceptAnything"}]}`+"\n")
	return h
}

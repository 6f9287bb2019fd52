package podman_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
)

// admitOne admits one image.
type admitOne struct{ digest string }

func (a admitOne) Admit(_ context.Context, req gate.Request) gate.Verdict {
	v := gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: "it is not signed", Repository: req.Repository, Digest: req.Digest.String()}
	if v.Digest == a.digest {
		v.Outcome, v.Code, v.Reason = gate.OutcomeAdmitted, gate.CodeAdmitted, "it is signed"
	}
	return v
}

// policy.json demands the proxy's own signature: so a host whose way around the proxy is open gets nothing that way, with podman, skopeo and buildah as
// Debian 13 has them.
func TestPOD09_ProxyCountersigns(t *testing.T) {
	upstream := coretest.NewRegistry(t, true)
	coretest.Push(t, upstream+"/acme/app:signed", lab.Busybox(t, "signed\n"))
	coretest.Push(t, upstream+"/acme/app:unsigned", lab.Busybox(t, "unsigned\n"))
	ref, err := name.ParseReference(upstream + "/acme/app:signed")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := countersign.Config{Form: countersign.Sigstore, Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "ca.pem")}
	if _, err := countersign.Generate(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	key, err := countersign.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(config.Public)
	if err != nil {
		t.Fatal(err)
	}
	p, err := registryproxy.New(registryproxy.Config{Upstream: "http://" + upstream, LogicalName: "registry.example", Admitter: admitOne{signed.Digest.String()}, Countersigner: key})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p.Handler())
	t.Cleanup(server.Close)
	proxy := strings.TrimPrefix(server.URL, "http://")

	host := lab.NewHost(t, lab.Debian13)
	host.Write(t, "/etc/touchmark/proxy-ca.pem", string(authority))
	host.Write(t, "/etc/containers/policy.json", `{"default": [{"type": "reject"}], "transports": {"docker": {"registry.example": [{"type": "sigstoreSigned",
		"pki": {"caRootsPath": "/etc/touchmark/proxy-ca.pem", "subjectEmail": "`+countersign.Subject+`"}, "signedIdentity": {"type": "matchRepository"}}]}}}`)
	// Where signatures are looked for goes by where an image is taken from, not by its name.
	host.Write(t, "/etc/containers/registries.d/proxy.yaml", fmt.Sprintf("docker:\n  %s:\n    use-sigstore-attachments: true\n  %s:\n    use-sigstore-attachments: true\n", proxy, upstream))
	through := func(location string) {
		host.Write(t, "/etc/containers/registries.conf", fmt.Sprintf("[[registry]]\nprefix = \"registry.example\"\nlocation = %q\ninsecure = true\n", location))
	}
	for _, client := range [][]string{
		{"podman", "pull"}, {"buildah", "pull", "--policy", "always"}, {"skopeo", "copy", "dir:/root/copy"},
	} {
		t.Run(client[0], func(t *testing.T) {
			pull := func(tag string) lab.Result {
				image := "registry.example/acme/app:" + tag
				if client[0] == "skopeo" {
					return host.Root().Run(t, "skopeo", "copy", "docker://"+image, client[2])
				}
				return host.Root().Run(t, append(client, image)...)
			}
			through(proxy)
			if r := pull("signed"); r.Status != 0 {
				t.Errorf("through the proxy: %s", r.Output())
			}
			if r := pull("unsigned"); r.Status == 0 || !strings.Contains(r.Output(), "it is not signed") {
				t.Errorf("unsigned: status %d, %s", r.Status, r.Output())
			}
			through(upstream)
			for _, tag := range []string{"signed", "unsigned"} {
				if r := pull(tag); r.Status == 0 || !strings.Contains(r.Output(), "A signature was required, but no signature exists") {
					t.Errorf("around the proxy, %s: status %d, %s", tag, r.Status, r.Output())
				}
			}
		})
	}
}

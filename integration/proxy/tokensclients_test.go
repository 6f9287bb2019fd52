package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// local pulls with a client of this machine, whose authorities of certificates are in the file store.
func (w *world) local(store, program string, login, pull []string, target string) pulling {
	return func(t *testing.T, user, repository string) lab.Result {
		home := t.TempDir()
		c := lab.Command{Program: program, Env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home, "REGISTRY_AUTH_FILE=" + home + "/auth.json", "SSL_CERT_FILE=" + store}}
		if user != "" {
			if r := c.Run(t, append(login, "-u", user, "-p", user+"'s", w.host)...); r.Status != 0 {
				return r
			}
		}
		image := w.host + "/" + repository + ":1"
		if strings.HasPrefix(target, "dir:") {
			image = "docker://" + image
		}
		return c.Run(t, append(pull, image, target+filepath.Join(home, "image"))...)
	}
}

// podman pulls with podman of a host, where nothing is from before.
func (w *world) podman(h *lab.Host) pulling {
	return func(t *testing.T, user, repository string) lab.Result {
		root := h.Root()
		root.Must(t, 0, "podman", "rmi", "--all", "--force")
		root.Must(t, 0, "rm", "-f", "/run/containers/0/auth.json")
		if user != "" {
			if r := root.Run(t, "podman", "login", "--tls-verify=false", "-u", user, "-p", user+"'s", w.host); r.Status != 0 {
				return r
			}
		}
		return root.Run(t, "podman", "pull", "--tls-verify=false", w.host+"/"+repository+":1")
	}
}

// docker pulls with docker of a host, where nothing is from before.
func (w *world) docker(d *lab.Docker) pulling {
	return func(t *testing.T, user, repository string) lab.Result {
		root, image := d.Root(), w.host+"/"+repository+":1"
		root.Run(t, "docker", "rmi", "--force", image)
		root.Must(t, 0, "rm", "-rf", "/root/.docker")
		if user != "" {
			if r := root.Run(t, "docker", "login", "-u", user, "-p", user+"'s", w.host); r.Status != 0 {
				return r
			}
		}
		return root.Run(t, "docker", "pull", image)
	}
}

// containerd pulls with ctr, by the registry's own name, where nothing is from before.
func (w *world) containerd(c *lab.Containerd) pulling {
	return func(t *testing.T, user, repository string) lab.Result {
		image := "registry.acme.example/" + repository + ":1"
		c.Ctr(t, "images", "rm", "--sync", image)
		args := []string{"images", "pull", "--hosts-dir", lab.CertsD}
		if user != "" {
			args = append(args, "--user", user+":"+user+"'s")
		}
		return c.Ctr(t, append(args, image)...)
	}
}

// pullWhole pulls an image, with all of its layers.
func pullWhole(image string, options ...remote.Option) error {
	ref, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, options...)
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r) // which verifies it
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// trusting is the network for those who take this certificate, and no other.
func trusting(certificate *x509.Certificate) http.RoundTripper {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return transport
}

// bearing notes the last token that was sent.
type bearing struct {
	http.RoundTripper
	last string
}

// RoundTrip implements http.RoundTripper.
func (b *bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	if h := r.Header.Get("Authorization"); strings.HasPrefix(h, "Bearer ") {
		b.last = h
	}
	return b.RoundTripper.RoundTrip(r)
}

// manyAtOnce has alice and bob ask for the same, which is alice's.
func (w *world) manyAtOnce(t *testing.T, transport http.RoundTripper) {
	t.Helper()
	as := func(user string, via http.RoundTripper) []remote.Option {
		return []remote.Option{remote.WithAuth(&authn.Basic{Username: user, Password: user + "'s"}), remote.WithTransport(via)}
	}
	var group sync.WaitGroup
	for i := range 40 {
		user := []string{"alice", "bob"}[i%2]
		group.Go(func() {
			if err := pullWhole(w.host+"/team/alice:1", as(user, transport)...); (err == nil) != (user == "alice") {
				t.Errorf("%s, among many: %v", user, err)
			}
		})
	}
	group.Wait()
	// A token for what bob may read is good for nothing else: neither for manifests, nor for the layers, whose digests he may know.
	ref, err := name.ParseReference(w.host + "/team/alice:1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, as("alice", transport)...)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	bob := &bearing{RoundTripper: transport}
	if err := pullWhole(w.host+"/team/shared:1", as("bob", bob)...); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"shared/manifests/1":                                 http.StatusOK,
		"alice/manifests/1":                                  http.StatusUnauthorized,
		"alice/blobs/" + manifest.Config.Digest.String():     http.StatusUnauthorized,
		"alice/blobs/" + manifest.Layers[0].Digest.String():  http.StatusUnauthorized,
		"shared/blobs/" + manifest.Layers[0].Digest.String(): 0, // of no image that is there
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.host+"/v2/team/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", bob.last)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want != 0 && resp.StatusCode != want || want == 0 && resp.StatusCode == http.StatusOK {
			t.Errorf("bob's token for team/shared and %s: %d", path, resp.StatusCode)
		}
	}
}

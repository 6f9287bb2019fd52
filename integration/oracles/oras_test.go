package oracles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
)

const (
	orasRepository   = "/team/app"
	orasArtifactType = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// orasForms are the two ways in which a registry tells what refers to an image.
var orasForms = map[string]bool{"referrers API": true, "fallback tag": false}

// orasSources are the two addresses of the lab's registry.
var orasSources = map[string]func(*orasLab) string{
	"registry": func(l *orasLab) string { return l.host },
	"proxy":    func(l *orasLab) string { return l.proxy },
}

// orasLab is a registry with three images, which differ in nothing but their signers, and a proxy in front. The tags are "alice", "mallory" and "unsigned".
type orasLab struct {
	stack       realStack
	root        *trust.Root
	host, proxy string // of the registry and of the proxy, host:port
	images      map[string]v1.Image
}

func newOrasLab(t *testing.T, s realStack, referrers bool) *orasLab {
	t.Helper()
	root, err := trust.Parse("own", s.root)
	if err != nil {
		t.Fatal(err)
	}
	l := &orasLab{stack: s, root: root, host: coretest.NewRegistry(t, referrers), images: map[string]v1.Image{}}
	for seed, tag := range []string{"alice", "mallory", "unsigned"} {
		l.images[tag] = coretest.Image(t, int64(seed)+1)
		coretest.Push(t, l.host+orasRepository+":"+tag, l.images[tag])
	}
	l.sign(t, "alice", "alice@acme.example")
	l.sign(t, "mallory", "mallory@evil.example")
	proxy, err := registryproxy.New(registryproxy.Config{Upstream: "http://" + l.host, Admitter: l.gate(t, l.host)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(proxy.Handler())
	t.Cleanup(server.Close)
	l.proxy = strings.TrimPrefix(server.URL, "http://")
	return l
}

// sign signs in both forms, as "touchmark sign" does.
func (l *orasLab) sign(t *testing.T, tag, signer string) {
	t.Helper()
	signing, err := sign.FetchSigningConfig(t.Context(), http.DefaultClient, l.stack.url, false)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(l.host + orasRepository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	config := sign.Config{Signing: signing, Root: l.root, Token: token.DevIssuer{Server: l.stack.url, Subject: signer}}
	if _, err := sign.Image(t.Context(), config, ref, attach.Source{Repository: ref.Context()}, sign.Options{}); err != nil {
		t.Fatal(err)
	}
}

// gate admits what alice signed in this registry's repositories.
func (l *orasLab) gate(t *testing.T, host string) *gate.Gate {
	t.Helper()
	rules, err := policy.Parse(t.Context(), fmt.Appendf(nil, `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "%s/**"}]
  authorities:
  - name: team
    keyless: {trustRootRef: own, identities: [{issuer: %q, subject: alice@acme.example}]}
`, host, l.stack.url), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(gate.Config{Policy: rules, Roots: []*trust.Root{l.root}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// judge asks a new gate with a policy for the registry about an image in it.
func (l *orasLab) judge(t *testing.T, host, path, tag string) gate.Verdict {
	t.Helper()
	repository, err := name.NewRepository(host + path)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := l.images[tag].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return l.gate(t, host).Admit(t.Context(), gate.Request{Repository: host + path, Digest: digest, Source: attach.Source{Repository: repository}})
}

// orasRepo is a repository as oras --plain-http opens it.
func orasRepo(t *testing.T, reference string) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(reference)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	return repo
}

// wantOrasDenied holds an error of oras-go against the verdict that caused it: a person has to read the reason in it.
func wantOrasDenied(t *testing.T, err error, verdict gate.Verdict, word string) {
	t.Helper()
	if !strings.Contains(verdict.Reason, word) {
		t.Errorf("the gate's reason is %q, want one with %q", verdict.Reason, word)
	}
	var response *errcode.ErrorResponse
	if !errors.As(err, &response) {
		t.Fatalf("error %v, want an *errcode.ErrorResponse", err)
	}
	if response.StatusCode != http.StatusForbidden || len(response.Errors) != 1 || response.Errors[0].Code != errcode.ErrorCodeDenied ||
		!strings.Contains(response.Errors[0].Message, verdict.Reason) || !strings.Contains(err.Error(), verdict.Reason) {
		t.Errorf("error %v, want 403 DENIED with %q", err, verdict.Reason)
	}
}

func TestOras_PullsWhatIsAdmittedAndShowsWhyNot(t *testing.T) {
	s := startStack(t)
	for form, referrers := range orasForms {
		t.Run(form, func(t *testing.T) {
			l := newOrasLab(t, s, referrers)
			repo := orasRepo(t, l.proxy+orasRepository)
			for _, tt := range []struct{ tag, reason string }{
				{"alice", ""}, // admitted
				{"unsigned", "is not signed; policy release wants"},
				{"mallory", "mallory@evil.example"},
			} {
				digest, err := l.images[tt.tag].Digest()
				if err != nil {
					t.Fatal(err)
				}
				for _, reference := range []string{tt.tag, digest.String()} {
					store := memory.New()
					pulled, err := oras.Copy(t.Context(), repo, reference, store, "pulled", oras.DefaultCopyOptions)
					if tt.reason != "" {
						wantOrasDenied(t, err, l.judge(t, l.host, orasRepository, tt.tag), tt.reason)
						continue
					}
					if err != nil {
						t.Errorf("%s: %v", reference, err)
						continue
					}
					wantOrasImage(t, store, pulled, l.images[tt.tag])
				}
				// HEAD has no body to hold a reason.
				_, err = repo.Resolve(t.Context(), tt.tag)
				var response *errcode.ErrorResponse
				if denied := errors.As(err, &response) && response.StatusCode == http.StatusForbidden; denied != (tt.reason != "") || !denied && err != nil {
					t.Errorf("resolving %s: %v", tt.tag, err)
				}
			}
		})
	}
}

// wantOrasImage wants the image in the store, with its config and both layers.
func wantOrasImage(t *testing.T, store *memory.Store, manifest ocispec.Descriptor, image v1.Image) {
	t.Helper()
	want, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := content.FetchAll(t.Context(), store, manifest)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("pulled the manifest %s, %v, want %s", got, err, want)
	}
	blobs, err := content.Successors(t.Context(), store, manifest)
	if err != nil || len(blobs) != 3 {
		t.Errorf("the manifest lists %v, %v, want a config and two layers", blobs, err)
	}
	for _, blob := range blobs {
		if _, err := content.FetchAll(t.Context(), store, blob); err != nil { // it verifies size and digest
			t.Errorf("%s: %v", blob.Digest, err)
		}
	}
}

func TestOras_ListsTheBundle(t *testing.T) {
	s := startStack(t)
	for form, referrers := range orasForms {
		t.Run(form, func(t *testing.T) {
			l := newOrasLab(t, s, referrers)
			listedType := orasArtifactType
			if referrers {
				// go-containerregistry's registry lists the config's media type, where the distribution specification wants the manifest's artifactType.
				listedType = ocispec.MediaTypeEmptyJSON
			}
			for source, host := range orasSources {
				repo := orasRepo(t, host(l)+orasRepository)
				for _, tt := range []struct {
					tag, artifactType string
					want              int
				}{
					{"alice", "", 1},
					{"alice", listedType, 1},
					{"alice", "application/spdx+json", 0},
					{"unsigned", "", 0},
				} {
					image, err := orasRepo(t, l.host+orasRepository).Resolve(t.Context(), tt.tag)
					if err != nil {
						t.Fatal(err)
					}
					list := orasReferrers(t, repo, image, tt.artifactType)
					if len(list) != tt.want {
						t.Errorf("%s, %s, %q: %d referrers %v, want %d", source, tt.tag, tt.artifactType, len(list), list, tt.want)
					}
					for _, listed := range list {
						if listed.ArtifactType != listedType {
							t.Errorf("%s lists %+v, want one of artifact type %s", source, listed, listedType)
						}
						wantOrasBundle(t, repo, listed, image)
					}
				}
			}
		})
	}
}

// wantOrasBundle wants the manifest of a bundle beside the image, whatever the registry lists it as, and the bundle.
func wantOrasBundle(t *testing.T, repo *remote.Repository, listed, image ocispec.Descriptor) {
	t.Helper()
	text, err := content.FetchAll(t.Context(), repo, listed)
	if err != nil {
		t.Fatal(err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.ArtifactType != orasArtifactType || manifest.Subject == nil || manifest.Subject.Digest != image.Digest || len(manifest.Layers) != 1 {
		t.Fatalf("listed is %s, want one layer of artifact type %s beside %s", text, orasArtifactType, image.Digest)
	}
	text, err = content.FetchAll(t.Context(), repo, manifest.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Parse(text); err != nil {
		t.Error(err)
	}
}

func orasReferrers(t *testing.T, repo *remote.Repository, image ocispec.Descriptor, artifactType string) []ocispec.Descriptor {
	t.Helper()
	var list []ocispec.Descriptor
	err := repo.Referrers(t.Context(), image, artifactType, func(page []ocispec.Descriptor) error {
		list = append(list, page...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A copy with its referrers is admitted where it was copied to; a copy without them isn't, nor is mallory's with hers.
func TestOras_CopiesImagesWithTheirBundles(t *testing.T) {
	s := startStack(t)
	for fromForm, fromReferrers := range orasForms {
		for toForm, toReferrers := range orasForms {
			for source, from := range orasSources {
				t.Run(fromForm+" to "+toForm+" from the "+source, func(t *testing.T) {
					l := newOrasLab(t, s, fromReferrers)
					src, host := orasRepo(t, from(l)+orasRepository), coretest.NewRegistry(t, toReferrers)
					if _, err := oras.ExtendedCopy(t.Context(), src, "alice", orasRepo(t, host+"/with/app"), "", oras.DefaultExtendedCopyOptions); err != nil {
						t.Fatal(err)
					}
					v := l.judge(t, host, "/with/app", "alice")
					if !v.Admitted() {
						t.Errorf("the copy with its bundle: %s, %s", v.Code, v.Reason)
					}
					var forms []string
					for _, signature := range v.Signatures {
						forms = append(forms, signature.Format)
					}
					// The legacy signature is at a tag of its own, and refers to nothing.
					if diff := cmp.Diff([]string{string(bundle.FormBundle)}, forms); diff != "" {
						t.Errorf("signatures beside the copy (-want +got):\n%s", diff)
					}

					if _, err := oras.Copy(t.Context(), src, "alice", orasRepo(t, host+"/without/app"), "", oras.DefaultCopyOptions); err != nil {
						t.Fatal(err)
					}
					if v := l.judge(t, host, "/without/app", "alice"); v.Code != gate.CodeUnsigned {
						t.Errorf("the copy without its bundle: %s, %s", v.Code, v.Reason)
					}

					_, err := oras.ExtendedCopy(t.Context(), src, "mallory", orasRepo(t, host+"/mallory/app"), "", oras.DefaultExtendedCopyOptions)
					if source == "proxy" {
						// It asks with HEAD first, so there is no reason to be read.
						var response *errcode.ErrorResponse
						if !errors.As(err, &response) || response.StatusCode != http.StatusForbidden {
							t.Errorf("mallory's image through the proxy: %v", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if v := l.judge(t, host, "/mallory/app", "mallory"); v.Code != gate.CodeNotAcceptable {
						t.Errorf("mallory's copy with her bundle: %s, %s", v.Code, v.Reason)
					}
				})
			}
		}
	}
}

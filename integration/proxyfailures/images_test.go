package proxyfailures_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/verify"
)

// canary is in every manifest, config and layer of an image that nobody signed; in layers it is the last thing.
const canary = "CANARY-51c9"

var signer = coretest.Email("alice@acme.example")

// artifacts are images of one repository: good is signed, and bad its unsigned twin. Each is an index of one platform.
type artifacts struct {
	repository string
	good, bad  artifact
}

// artifact is an image, by what can be asked for.
type artifact struct {
	tag                          string
	index, manifest              string // digests
	config, layer                string
	evidence, evidenceBlob       string // of a signature beside the index
	indexBody, child, configBody []byte
	layerBody                    []byte
}

// images are a registry's handler and what is in it.
type images struct {
	*coretest.Sigstore
	handler http.Handler
	url     string
}

// newImages starts a registry, with the referrers API or without it.
func newImages(t testing.TB, s *coretest.Sigstore, referrers bool) *images {
	t.Helper()
	m := &images{Sigstore: s, handler: ggcrregistry.New(ggcrregistry.Logger(log.New(io.Discard, "", 0)), ggcrregistry.WithReferrersSupport(referrers))}
	server := httptest.NewServer(m.handler)
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

func (m *images) ref(t testing.TB, path string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(m.url, "http://")+"/"+path, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// push writes an image whose layer has this many bytes and ends with mark, which is in its other parts, too.
func (m *images) push(t testing.TB, repository, tag, mark string, layerSize int) artifact {
	t.Helper()
	content := make([]byte, layerSize)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	content = append(content, mark...)
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		static.NewLayer(content, types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Author = "linux", "amd64", mark
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	note := map[string]string{"note": mark}
	image = mutate.Annotations(image, note).(v1.Image)
	index := mutate.Annotations(mutate.IndexMediaType(mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	}), types.OCIImageIndex), note).(v1.ImageIndex)
	if err := remote.WriteIndex(m.ref(t, repository+":"+tag), index); err != nil {
		t.Fatal(err)
	}
	a := artifact{tag: tag, layerBody: content}
	for _, part := range []struct {
		digest *string
		body   *[]byte
		of     interface {
			Digest() (v1.Hash, error)
			RawManifest() ([]byte, error)
		}
	}{{&a.index, &a.indexBody, index}, {&a.manifest, &a.child, image}} {
		d, err := part.of.Digest()
		if err == nil {
			*part.body, err = part.of.RawManifest()
		}
		if err != nil {
			t.Fatal(err)
		}
		*part.digest = d.String()
	}
	if a.configBody, err = image.RawConfigFile(); err != nil {
		t.Fatal(err)
	}
	a.config, a.layer = digestOf(a.configBody), digestOf(content)
	return a
}

// sign signs a digest of a repository, and lays the signature beside it there, or in another repository.
func (m *images) sign(t testing.TB, repository, digest string, content coretest.Content) {
	t.Helper()
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(strings.TrimPrefix(digest, "sha256:"))); err != nil {
		t.Fatal(err)
	}
	options := coretest.SignOptions{Identity: signer, Content: content}
	if content == coretest.LegacyAttestation {
		options.PredicateType = provenance
	}
	e := m.SignDigest(t, sum, options)
	subject := m.ref(t, repository+"@"+digest).(name.Digest)
	src := attach.Source{Repository: subject.Context()}
	hash, err := v1.NewHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	switch content {
	case coretest.SimpleSigning:
		var annotations map[string]string
		if annotations, err = bundle.LegacyAnnotations(e); err == nil {
			_, err = attach.WriteLegacy(t.Context(), src, hash, e.Payload.Text, annotations)
		}
	case coretest.LegacyAttestation:
		var annotations map[string]string
		if annotations, err = bundle.LegacyAttestationAnnotations(e); err == nil {
			_, err = attach.WriteLegacyAttestation(t.Context(), src, hash, e.Envelope.Text, annotations)
		}
	default:
		var raw []byte
		if raw, err = bundle.Marshal(e); err == nil {
			_, err = attach.WriteBundle(t.Context(), src, v1.Descriptor{MediaType: types.OCIImageIndex, Digest: hash, Size: 1}, raw, verify.PredicateImageSignature, coretest.Start)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// provenance is what an attestation attests.
const provenance = "https://slsa.dev/provenance/v1"

// find fills in the evidence beside an image, which lies at a tag, or is the first of those that refer to it.
func (m *images) find(t testing.TB, repository string, a *artifact, tag string) {
	t.Helper()
	if tag == "" {
		list, err := remote.Referrers(m.ref(t, repository+"@"+a.index).(name.Digest))
		if err != nil {
			t.Fatal(err)
		}
		all, err := list.IndexManifest()
		if err != nil || len(all.Manifests) == 0 {
			t.Fatalf("nothing refers to %s: %v", a.index, err)
		}
		tag = "@" + all.Manifests[0].Digest.String()
	}
	found, err := remote.Get(m.ref(t, repository+tag))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(found.Manifest))
	if err != nil || len(manifest.Layers) == 0 {
		t.Fatalf("%s holds no evidence: %s", tag, found.Manifest)
	}
	a.evidence, a.evidenceBlob = found.Digest.String(), manifest.Layers[0].Digest.String()
}

// digestOf is the digest of some bytes.
func digestOf(b []byte) string {
	h, _, _ := v1.SHA256(bytes.NewReader(b))
	return h.String()
}

// policyFor is a policy for one repository of registry.acme.example: alice signs, or whatever else the authority says.
func policyFor(repository, more string) string {
	return fmt.Sprintf(`---
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: %s}
spec:
  images: [{glob: "registry.acme.example/%[1]s"}]
  authorities:
  - name: team
    keyless: {trustRootRef: test, identities: [{issuer: %q, subject: alice@acme.example}]}
%s`, repository, coretest.Issuer, more)
}

package situations

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/verify"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"

	// tagPrefix stands before the tags of signatures that lie behind a prefix.
	tagPrefix = "sigs-"
)

// write lays evidence where the facts say, in the form that it has.
func (b *builder) write(tb testing.TB, i *Image, subject name.Digest, e *bundle.Evidence) {
	tb.Helper()
	dst := attach.Source{Repository: subject.Context()}
	switch i.Facts.Get("lies") {
	case "elsewhere":
		repo, err := name.NewRepository(b.Registry + "/signatures")
		if err != nil {
			tb.Fatal(err)
		}
		dst.Repository = repo
	case "behind-prefix":
		dst.TagPrefix = tagPrefix
	}
	digest, err := v1.NewHash(subject.DigestStr())
	if err != nil {
		tb.Fatal(err)
	}
	switch {
	case e.Payload != nil:
		annotations, err := bundle.LegacyAnnotations(e)
		if err == nil {
			_, err = attach.WriteLegacy(tb.Context(), dst, digest, e.Payload.Text, annotations)
		}
		if err != nil {
			tb.Fatal(err)
		}
	case e.Form == bundle.FormLegacy:
		annotations, err := bundle.LegacyAttestationAnnotations(e)
		if err == nil {
			_, err = attach.WriteLegacyAttestation(tb.Context(), dst, digest, e.Envelope.Text, annotations)
		}
		if err != nil {
			tb.Fatal(err)
		}
	default:
		text := b.bundleText(tb, i.Facts, e)
		described, err := remote.Head(subject)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := attach.WriteBundle(tb.Context(), dst, *described, text, verify.PredicateImageSignature, b.now); err != nil {
			tb.Fatal(err)
		}
		if i.Facts.Get("registry") == "old-mistyped" {
			b.mistype(tb, i.path(b.Registry), digest)
		}
	}
}

// bundleText is the bundle as it is written, as old clients write it where the
// facts ask for that.
func (b *builder) bundleText(tb testing.TB, f Facts, e *bundle.Evidence) []byte {
	tb.Helper()
	text, err := bundle.Marshal(e)
	if err != nil {
		tb.Fatal(err)
	}
	if f.Get("damage") == "not-json" {
		return text[:len(text)/2]
	}
	if f.Get("log") != "v1-promise" {
		return text
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		tb.Fatal(err)
	}
	doc["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	for _, entry := range doc["verificationMaterial"].(map[string]any)["tlogEntries"].([]any) {
		delete(entry.(map[string]any), "inclusionProof")
	}
	return marshal(tb, doc)
}

// dressMore lays beside an image what is there besides its own evidence.
func (b *builder) dressMore(tb testing.TB, i *Image, subject name.Digest) {
	tb.Helper()
	about := sum(tb, subject)
	plain := Facts{}
	switch i.Facts.Get("also") {
	case "mallory":
		b.write(tb, i, subject, b.evidence(tb, i, plain.with(Facts{"signer": "mallory"}), about))
	case "slsa", "spdx":
		b.write(tb, i, subject, b.evidence(tb, i, plain.with(Facts{"about": i.Facts.Get("also")}), about))
	case "notation":
		b.writeReferrer(tb, i, subject, "application/vnd.cncf.notary.signature", []byte("not for us"))
	case "100-bad":
		b.writeBad(tb, i, subject, 100)
	case "200-bad":
		b.writeBad(tb, i, subject, 200)
	}
}

// writeBad writes n legacy signatures that are damaged, each in its own way.
func (b *builder) writeBad(tb testing.TB, i *Image, subject name.Digest, n int) {
	tb.Helper()
	const annotation = "dev.cosignproject.cosign/signature"
	e := b.evidence(tb, i, Facts{"form": "legacy"}, sum(tb, subject))
	annotations, err := bundle.LegacyAnnotations(e)
	if err != nil {
		tb.Fatal(err)
	}
	path := i.path(b.Registry)
	config := b.putBlob(tb, path, "application/vnd.oci.image.config.v1+json", []byte(`{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`))
	payload := b.putBlob(tb, path, bundle.MediaTypeSimpleSigning, e.Payload.Text)
	var layers []v1.Descriptor
	for k := range n {
		signature := slices.Clone(e.Payload.Signature)
		signature[len(signature)-1-k%8] ^= byte(1 + k/8)
		layer := payload
		layer.Annotations = map[string]string{}
		for name, value := range annotations {
			layer.Annotations[name] = value
		}
		layer.Annotations[annotation] = base64.StdEncoding.EncodeToString(signature)
		layers = append(layers, layer)
	}
	b.putManifest(tb, path, strings.Replace(subject.DigestStr(), ":", "-", 1)+".sig", ociManifest,
		marshal(tb, map[string]any{"schemaVersion": 2, "mediaType": ociManifest, "config": config, "layers": layers}))
}

// writeReferrer attaches something that is no evidence of Sigstore's.
func (b *builder) writeReferrer(tb testing.TB, i *Image, subject name.Digest, artifactType string, content []byte) {
	tb.Helper()
	described, err := remote.Head(subject)
	if err != nil {
		tb.Fatal(err)
	}
	path := i.path(b.Registry)
	config := b.putBlob(tb, path, "application/vnd.oci.empty.v1+json", []byte("{}"))
	body := marshal(tb, map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": artifactType, "config": config,
		"layers": []v1.Descriptor{b.putBlob(tb, path, "application/jose+json", content)}, "subject": described,
	})
	b.putManifest(tb, path, fmt.Sprintf("sha256:%x", sha256.Sum256(body)), ociManifest, body)
}

// mistype gives the entries at the fallback tag the artifact type that old
// versions of cosign gave them (sigstore/cosign#4641).
func (b *builder) mistype(tb testing.TB, path string, subject v1.Hash) {
	tb.Helper()
	reference := "sha256-" + subject.Hex
	rec := b.serve(httptest.NewRequest(http.MethodGet, "/v2/"+path+"/manifests/"+reference, nil), path)
	var index struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &index); err != nil || len(index.Manifests) == 0 {
		tb.Fatalf("fallback index: %v: %s", err, rec.Body)
	}
	for k := range index.Manifests {
		index.Manifests[k].ArtifactType, index.Manifests[k].Annotations = "application/vnd.oci.empty.v1+json", nil
	}
	b.putManifest(tb, path, reference, ociIndex, marshal(tb, index))
}

func (b *builder) putBlob(tb testing.TB, path, mediaType string, content []byte) v1.Descriptor {
	tb.Helper()
	digest := sha256.Sum256(content)
	d := v1.Descriptor{MediaType: types.MediaType(mediaType), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(digest[:])}, Size: int64(len(content))}
	rec := b.serve(httptest.NewRequest(http.MethodPost, "/v2/"+path+"/blobs/uploads/?digest="+d.Digest.String(), bytes.NewReader(content)), path)
	if rec.Code != http.StatusCreated {
		tb.Fatalf("blob of %s: %d %s", path, rec.Code, rec.Body)
	}
	return d
}

func (b *builder) putManifest(tb testing.TB, path, reference, mediaType string, body []byte) {
	tb.Helper()
	req := httptest.NewRequest(http.MethodPut, "/v2/"+path+"/manifests/"+reference, bytes.NewReader(body))
	req.Header.Set("Content-Type", mediaType)
	if rec := b.serve(req, path); rec.Code != http.StatusCreated {
		tb.Fatalf("manifest %s of %s: %d %s", reference, path, rec.Code, rec.Body)
	}
}

func (b *builder) serve(req *http.Request, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	b.server.of(path).ServeHTTP(rec, req)
	return rec
}

func marshal(tb testing.TB, v any) []byte {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

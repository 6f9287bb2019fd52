package attach_test

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// referrer puts a manifest of one layer that refers to the subject.
func (reg *testRegistry) referrer(t *testing.T, subject v1.Descriptor, artifactType, layerType string, content []byte, annotations string) {
	t.Helper()
	config := reg.blob(t, []byte("{}"))
	layer := reg.blob(t, content)
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},
		"layers":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{%s}}],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
		manifestType, artifactType, artifactType, config, layerType, layer, len(content), annotations, subject.MediaType, subject.Digest, subject.Size)
	reg.put(t, digestOf([]byte(body)), manifestType, body)
}

// Every spelling of a bundle's media type is read, and a version that nobody knows is reported, not left out.
func TestLIB33_BundleVersions(t *testing.T) {
	tests := []struct {
		layerType string
		content   func(string) string
		want      string // of the error; none if empty
	}{
		{"application/vnd.dev.sigstore.bundle.v0.3+json", func(s string) string { return s }, ""},
		{"application/vnd.dev.sigstore.bundle+json;version=0.3", func(s string) string {
			return strings.Replace(s, "bundle.v0.3+json", "bundle+json;version=0.3", 1)
		}, ""},
		{"application/vnd.dev.sigstore.bundle+json;version=0.2", func(s string) string {
			return strings.Replace(s, "bundle.v0.3+json", "bundle+json;version=0.2", 1)
		}, ""},
		{"application/vnd.dev.sigstore.bundle.v9.9+json", func(s string) string { return strings.Replace(s, "v0.3", "v9.9", 1) }, "v9.9"},
		{"application/vnd.dev.sigstore.bundle.v0.3+json", func(s string) string { return strings.Replace(s, `{`, `{"future":1,`, 1) }, "future"},
		{"application/vnd.dev.sigstore.bundle.v0.3+json", func(s string) string { return s + s }, "bundle"},
		{"application/octet-stream", func(s string) string { return s }, "holds none"},
	}
	for _, tt := range tests {
		t.Run(tt.layerType, func(t *testing.T) {
			reg := newRegistry(t, true)
			subject := reg.image(t)
			reg.referrer(t, subject, "application/vnd.dev.sigstore.bundle.v0.3+json", tt.layerType, []byte(tt.content(string(bundleJSON(t, 1)))), "")
			got, errs := signatures(find(t, reg.src, subject.Digest))
			if tt.want == "" && (len(got) != 1 || errs != nil) {
				t.Errorf("found %v, %v", got, errs)
			}
			if tt.want != "" && (len(got) != 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), tt.want)) {
				t.Errorf("found %v, %v, want an error with %q", got, errs, tt.want)
			}
		})
	}
}

// cosign 2 in its OCI 1.1 mode attaches simple signing layers as a referrer.
func TestSimpleSigningAsReferrer(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	signature := fmt.Sprintf(`"dev.cosignproject.cosign/signature":%q`, annotations(7)["dev.cosignproject.cosign/signature"])
	reg.referrer(t, subject, "application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json", payload(7), signature)
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || errs != nil {
		t.Errorf("found %v, %v", got, errs)
	}
}

// Other things that refer to an image are no evidence, and cost nothing when the list says what they are.
func TestOtherReferrersAreLeftAlone(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.referrer(t, subject, "application/spdx+json", "application/spdx+json", []byte(`{"spdx":1}`), "")
	reg.referrer(t, subject, "application/vnd.oci.empty.v1+json", "text/plain", []byte(`hello`), "")
	reg.intercept(nil)
	if found := find(t, reg.src, subject.Digest); len(found.Evidence) != 0 || len(reg.seen()) != 3 { // list, the one that may be a signature, .sig
		t.Errorf("found %v; requests %q", found.Evidence, reg.seen())
	}
}

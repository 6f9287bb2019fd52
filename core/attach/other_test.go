package attach_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/attach"
)

// otherNames are the names and types of what is no evidence.
func otherNames(found attach.Found) []string {
	var names []string
	for _, o := range found.Other {
		names = append(names, o.ArtifactType+" is a "+o.Name)
	}
	return names
}

// What is beside an image and no evidence is named, and costs no request if its type says enough.
func TestGATE01_OthersAreNamed(t *testing.T) {
	for _, tt := range []struct{ artifactType, want string }{
		{"application/vnd.cncf.notary.signature", "Notation signature"},
		{"application/vnd.docker.attestation.manifest.v1+json", "BuildKit attestation, which is not signed"},
		{"application/spdx+json", "SPDX SBOM, which is not signed"},
		{"application/vnd.cyclonedx+json", "CycloneDX SBOM, which is not signed"},
		{"application/vnd.in-toto+json", "in-toto statement, which is not signed"},
		{"application/vnd.example.report.v1", "something else than a signature or attestation"},
	} {
		for _, api := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, API %t", tt.artifactType, api), func(t *testing.T) {
				reg := newRegistry(t, api)
				subject := reg.image(t)
				reg.referrer(t, subject, tt.artifactType, "application/octet-stream", []byte("x"), "")
				if !api {
					list := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":"%s","size":3,"artifactType":%q}]}`, manifestType, someDigest, tt.artifactType)
					reg.put(t, "sha256-"+subject.Digest.Hex, indexType+"; x=y", list)
				}
				found := find(t, reg.src, subject.Digest)
				if diff := cmp.Diff([]string{tt.artifactType + " is a " + tt.want}, otherNames(found)); diff != "" || len(found.Evidence) != 0 {
					t.Errorf("others (-want +got):\n%sevidence %v", diff, found.Evidence)
				}
			})
		}
	}
	t.Run("listed without a type", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		reg.writeBundle(t, subject, 1)
		reg.referrer(t, subject, "application/vnd.cncf.notary.signature", "application/jose+json", []byte("x"), "")
		reg.rewriteList(func(list string) string { return strings.ReplaceAll(list, `"artifactType":`, `"ignored":`) })
		found := find(t, reg.src, subject.Digest)
		got, errs := signatures(found)
		if diff := cmp.Diff([]string{"application/vnd.cncf.notary.signature is a Notation signature"}, otherNames(found)); diff != "" || len(got) != 1 || errs != nil {
			t.Errorf("others (-want +got):\n%sevidence %v, %v", diff, got, errs)
		}
	})
}

// Bundles are found whatever the list calls them; of types that nobody knows the first eight are looked into.
func TestBundlesOfEveryArtifactType(t *testing.T) {
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	for _, listed := range []string{
		bundleType, "", "application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json", "application/vnd.example.anything", "application/vnd.dsse.envelope.v1+json",
	} {
		t.Run(listed, func(t *testing.T) {
			reg := newRegistry(t, true)
			subject := reg.image(t)
			reg.writeBundle(t, subject, 1)
			reg.rewriteList(func(list string) string { return strings.ReplaceAll(list, bundleType, listed) })
			found := find(t, reg.src, subject.Digest)
			if got, errs := signatures(found); len(got) != 1 || errs != nil || len(found.Other) != 0 {
				t.Errorf("found %v, %v, others %v", got, errs, found.Other)
			}
		})
	}
	t.Run("a familiar type but a bundle's annotations", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		reg.writeBundle(t, subject, 1)
		reg.rewriteList(func(list string) string {
			return strings.ReplaceAll(list, `"artifactType":"`+bundleType+`"`, `"artifactType":"application/spdx+json","annotations":{"dev.sigstore.bundle.predicateType":"https://spdx.dev/Document"}`)
		})
		if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || errs != nil {
			t.Errorf("found %v, %v", got, errs)
		}
	})
	t.Run("20 unknown ones and a bundle", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		for n := range 20 {
			reg.referrer(t, subject, fmt.Sprintf("application/vnd.example.v%d", n), "application/octet-stream", []byte("x"), "")
		}
		reg.writeBundle(t, subject, 1)
		found := find(t, reg.src, subject.Digest)
		if got, errs := signatures(found); len(got) != 1 || errs != nil || len(found.Other) != 20 || found.ManifestRequests != 2+1+8 {
			t.Errorf("found %v, %v, %d others, %d requests", got, errs, len(found.Other), found.ManifestRequests)
		}
	})
	t.Run("an unknown one that can't be read is no evidence", func(t *testing.T) {
		reg := newRegistry(t, false)
		subject := reg.image(t)
		reg.put(t, "sha256-"+subject.Digest.Hex, indexType+"; x=y", fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":"%s","size":3,"artifactType":%q}]}`,
			manifestType, someDigest, "application/"+strings.Repeat("x", 1000)))
		found := find(t, reg.src, subject.Digest)
		if len(found.Evidence) != 0 || len(found.Other) != 1 || len(found.Other[0].ArtifactType) != 255 {
			t.Errorf("evidence %v, others %v", found.Evidence, found.Other)
		}
	})
}

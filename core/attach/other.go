package attach

import (
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxUnfamiliar is how many referrers of types that nobody knows are looked into, in case they are bundles: a request each, and scanners leave dozens.
const maxUnfamiliar = 8

// maxArtifactType bounds what is kept of an artifact type: a media type has at most 255 bytes (RFC 6838, 4.2).
const maxArtifactType = 255

// familiar are the artifact types of what is no evidence of ours, by prefix. Nobody signs what is attached like this, but for Notation's signatures.
var familiar = []struct{ prefix, name string }{
	{"application/vnd.cncf.notary", "Notation signature"},
	{"application/vnd.docker.attestation.manifest", "BuildKit attestation, which is not signed"},
	{"application/vnd.in-toto", "in-toto statement, which is not signed"},
	{"application/spdx", "SPDX SBOM, which is not signed"},
	{"text/spdx", "SPDX SBOM, which is not signed"},
	{"application/vnd.cyclonedx", "CycloneDX SBOM, which is not signed"},
	{"application/vnd.syft", "Syft SBOM, which is not signed"},
	{"application/vnd.dev.cosign.artifact.sbom", "SBOM, which is not signed"},
	{"application/vnd.goharbor.harbor.sbom", "SBOM made by Harbor, which is not signed"},
	{"application/sarif", "SARIF report, which is not signed"},
}

// other names something that is no evidence by its artifact type.
func other(manifest v1.Hash, artifactType string) Other {
	o := Other{ArtifactType: artifactType, Manifest: manifest, Name: familiarName(artifactType)}
	if o.Name == "" {
		o.Name = "something else than a signature or attestation"
	}
	if len(artifactType) > maxArtifactType {
		o.ArtifactType = artifactType[:maxArtifactType]
	}
	return o
}

// familiarName is "" for types that aren't familiar.
func familiarName(artifactType string) string {
	for _, f := range familiar {
		if strings.HasPrefix(artifactType, f.prefix) {
			return f.name
		}
	}
	return ""
}

// candidate is a referrer that is worth a look.
type candidate struct {
	referrer
	unfamiliar bool // nothing but curiosity speaks for it
}

// sift decides from the list alone which manifests are worth a look, once each.
func sift(list []referrer) (candidates []candidate, others []Other) {
	seen := map[v1.Hash]bool{}
	unfamiliar := 0
	for _, r := range list {
		if seen[r.Digest] {
			continue
		}
		seen[r.Digest] = true
		switch {
		case r.mayBeEvidence():
			candidates = append(candidates, candidate{referrer: r})
		case familiarName(r.ArtifactType) == "" && unfamiliar < maxUnfamiliar:
			unfamiliar++
			candidates = append(candidates, candidate{referrer: r, unfamiliar: true})
		default:
			others = append(others, other(r.Digest, r.ArtifactType))
		}
	}
	return candidates, others
}

// mayBeEvidence decides by the right artifact types, by those that old versions of cosign (sigstore/cosign#4641), and registries that list the config's
// media type, put in the place of the right one, and by annotations that only bundles have.
func (r referrer) mayBeEvidence() bool {
	switch r.ArtifactType {
	case "", emptyMediaType, string(types.OCIConfigJSON), cosignSigArtifactType, envelopeMediaType:
		return true
	}
	return r.annotated || strings.HasPrefix(r.ArtifactType, bundleMediaTypePrefix)
}

// artifactType of a manifest: without one of its own, its config's media type (OCI image specification, "artifactType").
func (d *document) artifactType() string {
	if d.ArtifactType == "" && d.Config != nil {
		return string(d.Config.MediaType)
	}
	return d.ArtifactType
}

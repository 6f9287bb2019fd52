package skopeo

import (
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/verify"
)

// Result is what a copy did. The counts are of what the attachments call themselves; whether any of them proves something is said by the verdicts alone.
type Result struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Digest      string `json:"digest,omitempty"`
	MediaType   string `json:"mediaType,omitempty"`
	Tag         string `json:"tag,omitempty"` // at the destination; empty until everything is there
	// Platforms are those of an index, in its order.
	Platforms []string `json:"platforms,omitempty"`
	// Signatures counts simple signing layers in .sig images, and Sigstore bundles, Notation's and other signatures among the referrers.
	Signatures   int `json:"signatures"`
	Attestations int `json:"attestations"`
	SBOMs        int `json:"sboms"`
	Others       int `json:"others"` // attached, and none of these
	// Attached has an entry for each manifest that is attached to something.
	Attached  []Attached `json:"attached,omitempty"`
	Manifests int        `json:"manifests"`
	Blobs     int        `json:"blobs"`
	// BytesSent is what was sent to the destination, retries included; BytesSkipped is what was there, or mounted from another of its repositories.
	BytesSent    int64 `json:"bytesSent"`
	BytesSkipped int64 `json:"bytesSkipped"`
	// Omitted is what was not copied.
	Omitted []Omission `json:"omitted,omitempty"`
	// Verdict and DestinationVerdict are the gate's; nil if it wasn't asked.
	Verdict            *gate.Verdict `json:"verdict,omitempty"`
	DestinationVerdict *gate.Verdict `json:"destinationVerdict,omitempty"`

	mu sync.Mutex // guards Omitted, BytesSent and BytesSkipped while a copy runs
}

// Attached is one manifest that is attached to the image, or to something attached to it.
type Attached struct {
	Kind         string   `json:"kind"` // "signature", "attestation", "sbom" or "other"
	Digest       string   `json:"digest"`
	Subject      string   `json:"subject"`
	ArtifactType string   `json:"artifactType,omitempty"`
	Tags         []string `json:"tags,omitempty"` // for what is found by a tag
}

// Omission is something that was not copied, and the reason.
type Omission struct {
	Digest string `json:"digest"`
	Why    string `json:"why"`
}

// describe counts what the plan holds.
func (p *plan) describe(r *Result) {
	r.Manifests, r.Blobs = len(p.nodes), len(p.blobs)
	for _, n := range p.nodes {
		if n.platform != "" && n.platform != "unknown/unknown" && !slices.Contains(r.Platforms, n.platform) {
			r.Platforms = append(r.Platforms, n.platform)
		}
		if isBuildKit(n) { // attached by being in the index
			r.Attestations += len(n.Layers)
			continue
		}
		if n.subject == nil {
			continue
		}
		kind, count := n.kind()
		switch kind {
		case "signature":
			r.Signatures += count
		case "attestation":
			r.Attestations += count
		case "sbom":
			r.SBOMs += count
		default:
			r.Others += count
		}
		r.Attached = append(r.Attached, Attached{
			Kind: kind, Digest: n.Digest.String(), Subject: n.subject.Digest.String(), ArtifactType: n.Entry().ArtifactType, Tags: n.tags,
		})
	}
}

// isBuildKit says whether the manifest is one of BuildKit's attestation manifests, which lie in the index beside the platform that they are about.
func isBuildKit(n *node) bool {
	return n.of != nil && n.of.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

// tagKinds says what cosign keeps at tags.
var tagKinds = map[string]string{".sig": "signature", ".att": "attestation", ".sbom": "sbom"}

// kind says what an attached manifest calls itself, and how many of that it holds.
func (n *node) kind() (string, int) {
	if len(n.tags) > 0 {
		return tagKinds[path.Ext(n.tags[0])], len(n.Layers)
	}
	artifactType := n.Entry().ArtifactType
	switch {
	case strings.HasPrefix(artifactType, "application/vnd.dev.sigstore.bundle"):
		if t := n.Annotations["dev.sigstore.bundle.predicateType"]; t != "" && t != verify.PredicateImageSignature {
			return "attestation", 1
		}
		return "signature", 1
	case artifactType == "application/vnd.cncf.notary.signature", artifactType == "application/vnd.dev.cosign.artifact.sig.v1+json":
		return "signature", 1
	case strings.HasPrefix(artifactType, "application/vnd.in-toto"):
		return "attestation", 1
	case strings.Contains(artifactType, "spdx"), strings.Contains(artifactType, "cyclonedx"), strings.Contains(artifactType, "syft"):
		return "sbom", 1
	}
	return "other", 1
}

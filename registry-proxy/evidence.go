package registryproxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Evidence (signatures, attestations, SBOMs) has to be readable before there is a verdict, or no client could verify for
// itself. But then it is the way out for an image that is dressed as evidence. So what passes is decided by what it is,
// never by its tag, subject, artifactType or annotations, which whoever may push can choose:
//
//   - a manifest, if every layer's media type is on the list below, all is small, and each of its blobs passes: some
//     runtimes unpack by content, so media types alone would let out a manifest over an admitted image's layers;
//   - its blobs, if they are JSON documents that are no tar archive at the same time, which is what a runtime unpacks, and neither
//     an image's manifest nor its config;
//   - its config, if it gives nothing to run, too, and names no root file system but the evidence itself (cosign writes
//     .sig images with an image config whose diff_ids are its own layers);
//   - the index at a referrers fallback tag, because it only lists. It is never a parent of anything, and what it lists is
//     judged when it is asked for.

const (
	maxEvidenceLayer  = 8 << 20  // the largest bundle that anything here reads
	maxEvidenceConfig = 64 << 10 // cosign's grow by a digest per signature
	maxEvidenceLayers = 128      // signatures beside one image, as in core/attach
	maxEvidenceTotal  = 16 << 20 // all layers of one manifest: a file system in slices is not evidence
	typeImageConfig   = "application/vnd.oci.image.config.v1+json"
	typeEmptyConfig   = "application/vnd.oci.empty.v1+json"
	typeBundlePrefix  = "application/vnd.dev.sigstore.bundle"
	bundleTypeMaximum = len(typeBundlePrefix) + 32
)

// evidenceTypes is the evidence list. All of them are JSON; the XML and text forms of SBOMs are not on it, because
// their bytes cannot be told from a file system's as surely.
var evidenceTypes = map[string]bool{
	"application/vnd.dev.cosign.simplesigning.v1+json": true,
	"application/vnd.dsse.envelope.v1+json":            true,
	"application/vnd.in-toto+json":                     true,
	"application/spdx+json":                            true,
	"text/spdx+json":                                   true,
	"application/vnd.cyclonedx+json":                   true,
}

func isEvidenceType(mediaType string) bool {
	if evidenceTypes[mediaType] {
		return true
	}
	// application/vnd.dev.sigstore.bundle.v0.3+json, and the older ...bundle+json;version=0.2
	return strings.HasPrefix(mediaType, typeBundlePrefix) && len(mediaType) <= bundleTypeMaximum && strings.Contains(mediaType, "+json")
}

// isEvidence reports whether an image manifest passes as evidence. What it is about must not be in it, or a manifest that is not
// admitted would leave as its subject's data.
func (d *document) isEvidence() bool {
	if d.index || d.carries || d.mediaType != typeOCIManifest || len(d.layers) == 0 || len(d.layers) > maxEvidenceLayers {
		return false
	}
	if d.config.MediaType != typeImageConfig && d.config.MediaType != typeEmptyConfig || d.config.Size > maxEvidenceConfig {
		return false
	}
	var total int64
	for _, l := range d.layers {
		if !isEvidenceType(l.MediaType) || l.Size > maxEvidenceLayer || len(l.URLs) > 0 {
			return false
		}
		total += l.Size
	}
	return total <= maxEvidenceTotal
}

// fallbackTagPattern is the referrers tag schema of the distribution specification, for the one algorithm served here.
var fallbackTagPattern = regexp.MustCompile(`^sha256-[a-f0-9]{64}$`)

// isReferrersIndex reports whether an index looks like what clients keep at a fallback tag: descriptors of OCI manifests,
// each with an artifactType and none for a platform. A runnable multi-platform index has it the other way round. The tag
// is checked by the caller.
func (d *document) isReferrersIndex() bool {
	if !d.index || d.carries || d.mediaType != typeOCIIndex {
		return false
	}
	for _, m := range d.manifests {
		if m.MediaType != typeOCIManifest || m.ArtifactType == "" || len(m.Platform) > 0 || len(m.URLs) > 0 || len(m.Data) > 0 {
			return false
		}
	}
	return true
}

// checkEvidenceBlob decides about the whole of one blob of evidence. layers are the evidence's own, for its config.
func checkEvidenceBlob(untrusted []byte, config bool, layers []v1.Hash) error {
	if !json.Valid(untrusted) {
		return errors.New("it is not a JSON document, as every kind of evidence is")
	}
	if holdsTarHeader(untrusted) {
		return errors.New("it is a tar archive as well as a JSON document")
	}
	if err := checkNoImage(untrusted, config); err != nil || !config {
		return err
	}
	return checkEvidenceConfig(untrusted, layers)
}

// checkNoImage refuses what belongs to an image: its manifest, or its config, which somebody else's manifest may list as evidence.
// No kind of evidence has their fields, but for the root file system in its own config.
func checkNoImage(untrusted []byte, config bool) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(untrusted, &members) != nil {
		return nil // no object
	}
	for key := range members { // in any case, as encoding/json has it, which takes even a long s for one
		is := func(field string) bool { return strings.EqualFold(key, field) }
		switch {
		case is("rootfs") && !config:
			return errors.New("it is an image's config")
		case is("layers"), is("manifests"), is("fsLayers"):
			return errors.New("it is an image's manifest")
		}
	}
	return nil
}

// checkEvidenceConfig refuses a config with which a runtime could start something.
func checkEvidenceConfig(untrusted []byte, layers []v1.Hash) error {
	var c struct {
		Config map[string]json.RawMessage `json:"config"`
		RootFS json.RawMessage            `json:"rootfs"`
	}
	var fs struct {
		DiffIDs []string `json:"diff_ids"`
	}
	err := checkJSON(untrusted)
	if err == nil {
		_, err = decodeExact(untrusted, &c, []string{"config", "rootfs"})
	}
	if err == nil && len(c.RootFS) > 0 {
		_, err = decodeExact(c.RootFS, &fs, []string{"diff_ids"})
	}
	if err != nil {
		return fmt.Errorf("its config is not the config of evidence: %w", err)
	}
	if len(c.Config) > 0 {
		return errors.New("its config is an image's: it says what to run")
	}
	for _, id := range fs.DiffIDs {
		if !containsDigest(layers, id) {
			return errors.New("its config is an image's: a layer of its root file system is none of the evidence's own")
		}
	}
	return nil
}

// Places in a block of a tar archive (POSIX.1-1988, "Extended tar Format").
const (
	tarBlock       = 512
	tarChecksum    = 148
	tarChecksumEnd = 156
)

// holdsTarHeader reports whether a reader of tar archives would find a file: a block that carries its own sum. The oldest
// form of header needs no byte that a JSON string could not hold, and no zero blocks at the end.
func holdsTarHeader(untrusted []byte) bool {
	for block := untrusted; len(block) >= tarBlock; block = block[tarBlock:] {
		var unsigned, signed int64 // old writers summed signed bytes
		for i, c := range block[:tarBlock] {
			if i >= tarChecksum && i < tarChecksumEnd {
				c = ' '
			}
			unsigned += int64(c)
			signed += int64(int8(c))
		}
		field := bytes.TrimLeft(block[tarChecksum:tarChecksumEnd], " \x00")
		digits := field[:len(field)-len(bytes.TrimLeft(field, "01234567"))]
		if sum, err := strconv.ParseInt(string(digits), 8, 64); err == nil && (sum == unsigned || sum == signed) {
			return true
		}
	}
	return false
}

func containsDigest(all []v1.Hash, digest string) bool {
	for _, h := range all {
		if h.String() == digest {
			return true
		}
	}
	return false
}

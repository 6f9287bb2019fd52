package attach

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// signatureAnnotation holds the signature of a simple signing layer.
const signatureAnnotation = "dev.cosignproject.cosign/signature"

// WriteLegacy adds a simple signing payload to the image at the tag sha256-<hex>.sig, with the annotations of [bundle.LegacyAnnotations], and returns the digest of its manifest.
// The layers that are there already are kept as they are; a payload that is there with the same signature isn't added again. As with [WriteBundle], the tag
// is read again after it was written. Errors of the registry are a [*LookupError].
func WriteLegacy(ctx context.Context, dst Source, subject v1.Hash, payload []byte, annotations map[string]string) (v1.Hash, error) {
	if err := checkSubject(dst, subject); err != nil {
		return v1.Hash{}, err
	}
	if len(payload) > MaxBundle {
		return v1.Hash{}, fmt.Errorf("writing signature: payload of %d bytes, limit %d", len(payload), MaxBundle)
	}
	if annotations[signatureAnnotation] == "" {
		return v1.Hash{}, fmt.Errorf("writing signature: no annotation %s", signatureAnnotation)
	}
	c, err := open(ctx, dst, transport.PushScope)
	if err != nil {
		return v1.Hash{}, err
	}
	return c.addLayer(ctx, c.sigTag(subject), payload, simpleSigningMediaType, annotations)
}

// WriteLegacyAttestation adds a DSSE envelope to the image at the tag sha256-<hex>.att, with the annotations of [bundle.LegacyAttestationAnnotations], as [WriteLegacy] does to
// .sig. It is the form that cosign 2 and policy-controller read. An envelope that is there already isn't added again.
func WriteLegacyAttestation(ctx context.Context, dst Source, subject v1.Hash, envelope []byte, annotations map[string]string) (v1.Hash, error) {
	if err := checkSubject(dst, subject); err != nil {
		return v1.Hash{}, err
	}
	if len(envelope) > MaxBundle {
		return v1.Hash{}, fmt.Errorf("writing attestation: envelope of %d bytes, limit %d", len(envelope), MaxBundle)
	}
	c, err := open(ctx, dst, transport.PushScope)
	if err != nil {
		return v1.Hash{}, err
	}
	return c.addLayer(ctx, c.attTag(subject), envelope, envelopeMediaType, annotations)
}

// addLayer adds a layer to the image at the tag.
func (c *client) addLayer(ctx context.Context, tag string, content []byte, mediaType types.MediaType, annotations map[string]string) (v1.Hash, error) {
	layer, err := c.upload(ctx, content, mediaType)
	if err != nil {
		return v1.Hash{}, err
	}
	layer.Annotations = maps.Clone(annotations)
	var written v1.Hash
	err = c.settle(ctx, func() (bool, []byte, error) {
		body, err := c.readTag(ctx, tag, types.OCIManifestSchema1)
		if err != nil {
			return false, nil, err
		}
		image := map[string]json.RawMessage{"schemaVersion": json.RawMessage("2"), "mediaType": json.RawMessage(`"` + types.OCIManifestSchema1 + `"`)}
		var layers []json.RawMessage
		var parsed []v1.Descriptor
		if body != nil {
			if layers, parsed, err = splitLayers(body, image); err != nil {
				return false, nil, &LookupError{URL: c.url("manifests/" + tag), Status: http.StatusOK, Err: err}
			}
		}
		for _, l := range parsed {
			if l.Digest == layer.Digest && l.Annotations[signatureAnnotation] == layer.Annotations[signatureAnnotation] {
				written = hash(body)
				return true, body, nil
			}
		}
		if len(layers) >= MaxSignatures {
			err := fmt.Errorf("%w: it holds %d signatures already", ErrTooMany, len(layers))
			return false, nil, &LookupError{URL: c.url("manifests/" + tag), Status: http.StatusOK, Err: err}
		}
		config, err := c.uploadConfig(ctx, append(parsed, layer))
		if err != nil {
			return false, nil, err
		}
		if err := setMembers(image, config, layers, layer); err != nil {
			return false, nil, err
		}
		body, err = c.putTag(ctx, tag, types.OCIManifestSchema1, image)
		return false, body, err
	})
	return written, err
}

// splitLayers gives the manifest's members into image, and its layers both verbatim and parsed.
func splitLayers(body []byte, image map[string]json.RawMessage) ([]json.RawMessage, []v1.Descriptor, error) {
	if err := json.Unmarshal(body, &image); err != nil {
		return nil, nil, err
	}
	var layers []json.RawMessage
	var parsed []v1.Descriptor
	if err := json.Unmarshal(image["layers"], &layers); err != nil {
		return nil, nil, fmt.Errorf("layers: %w", err)
	}
	if err := json.Unmarshal(image["layers"], &parsed); err != nil {
		return nil, nil, fmt.Errorf("layers: %w", err)
	}
	return layers, parsed, nil
}

func setMembers(image map[string]json.RawMessage, config v1.Descriptor, layers []json.RawMessage, layer v1.Descriptor) error {
	added, err := json.Marshal(layer)
	if err != nil {
		return err
	}
	if image["layers"], err = json.Marshal(append(layers, added)); err != nil {
		return err
	}
	image["config"], err = json.Marshal(config)
	return err
}

// uploadConfig writes the image config that a .sig or .att image has: one diff ID for each layer, which containers/image and cosign count on when they
// add to it. Nothing else in it means anything, and nothing of it is signed.
func (c *client) uploadConfig(ctx context.Context, layers []v1.Descriptor) (v1.Descriptor, error) {
	config := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
		config.History = append(config.History, v1.History{})
	}
	body, err := json.Marshal(config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return c.upload(ctx, body, types.OCIConfigJSON)
}

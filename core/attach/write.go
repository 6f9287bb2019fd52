package attach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/bundle"
)

// writeAttempts is how often a tag that several writers share is read and written anew when our entry is missing after a write.
const writeAttempts = 5

// writeBackoff is the first wait between such attempts; it doubles.
const writeBackoff = 50 * time.Millisecond

// emptyConfig is the config of artifacts that have none (OCI image specification, "empty descriptor").
var emptyConfig = []byte("{}")

// bundleManifest is the manifest of a bundle, its members in the order in which cosign 3 writes them.
type bundleManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Subject       v1.Descriptor     `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// WriteBundle attaches a bundle to the subject as a referrer, in the form that cosign 3 writes, and returns the digest of its manifest. The bundle has to be v0.3 with a
// DSSE envelope; predicateType (of its statement) and now are written as annotations. When it returns nil the registry lists the referrer: through the referrers API, or
// in the index at the fallback tag, which is maintained here where the registry doesn't do it. There the entries of others are kept as they are; two writers at
// the same moment can't be kept apart by any means that registries offer, so the index is read again after each write until nobody else writes, and written again if our
// entry is gone. What another writer, who had read the index before, writes over it later than that is lost; writing once more puts it right.
// Errors of the registry are a [*LookupError].
func WriteBundle(ctx context.Context, dst Source, subject v1.Descriptor, bundleJSON []byte, predicateType string, now time.Time) (v1.Hash, error) {
	if err := checkSubject(dst, subject.Digest); err != nil {
		return v1.Hash{}, err
	}
	if len(bundleJSON) > MaxBundle {
		return v1.Hash{}, fmt.Errorf("writing bundle: %d bytes, limit %d", len(bundleJSON), MaxBundle)
	}
	c, err := open(ctx, dst, transport.PushScope)
	if err != nil {
		return v1.Hash{}, err
	}
	config, err := c.upload(ctx, emptyConfig, emptyMediaType)
	if err != nil {
		return v1.Hash{}, err
	}
	config.ArtifactType = bundle.MediaTypeV03
	layer, err := c.upload(ctx, bundleJSON, bundle.MediaTypeV03)
	if err != nil {
		return v1.Hash{}, err
	}
	manifest := bundleManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  bundle.MediaTypeV03,
		Config:        config,
		Layers:        []v1.Descriptor{layer},
		Subject:       v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations: map[string]string{
			"org.opencontainers.image.created":  now.UTC().Format(time.RFC3339),
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": predicateType,
		},
	}
	body, err := json.Marshal(manifest)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing bundle: %w", err)
	}
	entry := v1.Descriptor{
		MediaType: manifest.MediaType, Digest: hash(body), Size: int64(len(body)),
		ArtifactType: manifest.ArtifactType, Annotations: manifest.Annotations,
	}
	resp, err := c.putManifest(ctx, entry.Digest.String(), manifest.MediaType, body)
	if err != nil {
		return v1.Hash{}, err
	}
	// "If the registry supports the referrers API it MUST respond with OCI-Subject" (distribution-spec, pushing manifests with subject). Not all that have the
	// API say so, so that its absence is a reason to ask.
	if resp.header.Get("OCI-Subject") == subject.Digest.String() {
		return entry.Digest, nil
	}
	return entry.Digest, c.ensureListed(ctx, subject.Digest, entry)
}

// ensureListed returns nil once the registry's own list of referrers, or the index that stands in for it, has the entry.
func (c *client) ensureListed(ctx context.Context, subject v1.Hash, entry v1.Descriptor) error {
	return c.attempt(ctx, func() (bool, error) {
		list, supported, err := c.listByAPI(ctx, subject)
		if err != nil {
			return false, err
		}
		if !supported {
			return true, c.addToIndex(ctx, subject, entry)
		}
		for _, r := range list {
			if r.Digest == entry.Digest {
				return true, nil
			}
		}
		return false, &LookupError{URL: c.url("referrers/" + subject.String()), Status: http.StatusOK, Err: fmt.Errorf("does not list %s after it was written", entry.Digest)}
	})
}

// addToIndex adds the entry to the index at the fallback tag.
func (c *client) addToIndex(ctx context.Context, subject v1.Hash, entry v1.Descriptor) error {
	tag := fallbackTag(subject)
	return c.settle(ctx, func() (bool, []byte, error) {
		body, index, manifests, err := c.readIndex(ctx, tag)
		if err != nil {
			return false, nil, err
		}
		kept := make([]json.RawMessage, 0, len(manifests)+1)
		for _, raw := range manifests {
			var r referrer
			if err := json.Unmarshal(raw, &r); err != nil {
				return false, nil, &LookupError{URL: c.url("manifests/" + tag), Status: http.StatusOK, Err: err}
			}
			if r.Digest == entry.Digest && r.ArtifactType == entry.ArtifactType {
				return true, body, nil
			}
			if r.Digest != entry.Digest { // else it's ours under a wrong artifactType
				kept = append(kept, raw)
			}
		}
		ours, err := json.Marshal(entry)
		if err != nil {
			return false, nil, err
		}
		if index["manifests"], err = json.Marshal(append(kept, ours)); err != nil {
			return false, nil, err
		}
		body, err = c.putTag(ctx, tag, types.OCIImageIndex, index)
		return false, body, err
	})
}

// readIndex reads the index at a tag, members and entries verbatim; a new one if there is none. It refuses to replace anything that isn't an index.
func (c *client) readIndex(ctx context.Context, tag string) (body []byte, index map[string]json.RawMessage, manifests []json.RawMessage, err error) {
	body, err = c.readTag(ctx, tag, types.OCIImageIndex)
	if err != nil {
		return nil, nil, nil, err
	}
	index = map[string]json.RawMessage{"schemaVersion": json.RawMessage("2"), "mediaType": json.RawMessage(`"` + types.OCIImageIndex + `"`)}
	if body == nil {
		return nil, index, nil, nil
	}
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, nil, nil, &LookupError{URL: c.url("manifests/" + tag), Status: http.StatusOK, Err: err}
	}
	if raw, ok := index["manifests"]; ok {
		if err := json.Unmarshal(raw, &manifests); err != nil {
			return nil, nil, nil, &LookupError{URL: c.url("manifests/" + tag), Status: http.StatusOK, Err: err}
		}
	}
	return body, index, manifests, nil
}

// readTag reads what a tag names, which has to be of this media type and unambiguous; nil if there is nothing.
func (c *client) readTag(ctx context.Context, tag string, want types.MediaType) ([]byte, error) {
	u := c.url("manifests/" + tag)
	r, err := c.get(ctx, u, []string{string(want)}, MaxManifest, http.StatusNotFound)
	if err != nil || r.status != http.StatusOK {
		return nil, err
	}
	if got := r.mediaType(); got != string(want) {
		return nil, &LookupError{URL: u, Status: r.status, Err: fmt.Errorf("holds media type %q, want %q: refusing to replace it", got, want)}
	}
	if _, err := parseDocument(want, r.body); err != nil {
		return nil, &LookupError{URL: u, Status: r.status, Err: fmt.Errorf("refusing to replace it: %w", err)}
	}
	return r.body, nil
}

// putTag writes a manifest or index whose members were changed one by one, and returns what it wrote.
func (c *client) putTag(ctx context.Context, tag string, mediaType types.MediaType, members map[string]json.RawMessage) ([]byte, error) {
	body, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	_, err = c.putManifest(ctx, tag, mediaType, body)
	return body, err
}

func (c *client) putManifest(ctx context.Context, identifier string, mediaType types.MediaType, body []byte) (*response, error) {
	u := c.url("manifests/" + identifier)
	if len(body) > MaxManifest {
		return nil, &LookupError{URL: u, Err: fmt.Errorf("manifest of %d bytes, limit %d", len(body), MaxManifest)}
	}
	return c.do(ctx, http.MethodPut, u, http.Header{"Content-Type": {string(mediaType)}}, body, MaxManifest, http.StatusAccepted)
}

// upload writes a blob unless the registry has it, and describes it.
func (c *client) upload(ctx context.Context, content []byte, mediaType types.MediaType) (v1.Descriptor, error) {
	desc := v1.Descriptor{MediaType: mediaType, Digest: hash(content), Size: int64(len(content))}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := remote.WriteLayer(c.repo, static.NewLayer(content, mediaType), remote.WithTransport(c.transport), remote.WithContext(ctx))
	if err != nil {
		status := 0
		if te := (*transport.Error)(nil); errors.As(err, &te) {
			status = te.StatusCode
		}
		err = fmt.Errorf("uploading %s: %w", desc.Digest, withoutURL(err))
		return desc, &LookupError{URL: strings.TrimSuffix(c.url("blobs/uploads/"), "/"), Status: status, Err: err}
	}
	return desc, nil
}

// attempt calls try until it is done, with waits in between. When it gives up it returns try's last error.
func (c *client) attempt(ctx context.Context, try func() (done bool, err error)) error {
	wait := writeBackoff
	var last error
	for range writeAttempts {
		done, err := try()
		if done {
			return err
		}
		last = err
		timer := time.NewTimer(wait + time.Duration(rand.Int64N(int64(wait)))) // so that writers fall out of step
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		wait *= 2
	}
	return last
}

// settle adds something to a tag that others may be writing too. The call add reads the tag, writes it if our addition isn't there, and says whether it was, and what
// the tag holds now. No registry can be asked to write only if nothing has changed, so that we look again after a while: our addition has to be there, and the
// tag as we last saw it; as long as others are at work, whoever read it before we wrote may still write over it.
func (c *client) settle(ctx context.Context, add func() (there bool, content []byte, err error)) error {
	var there bool
	var last []byte
	err := c.attempt(ctx, func() (done bool, err error) {
		before := last
		there, last, err = add()
		return err != nil || there && (before == nil || bytes.Equal(before, last)), err
	})
	if err == nil && !there {
		err = &LookupError{URL: c.repo.Name(), Err: errors.New("what was written was lost to other writers each time")}
	}
	return err
}

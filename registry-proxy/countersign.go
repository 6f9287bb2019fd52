package registryproxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/steady"
)

// Countersigning has clients hold an image to the proxy's own signature, wherever they got it: podman's policy.json demands
// one by the proxy's authority, and reads it at the tag where cosign 2 keeps signatures, sha256-<hex>.sig. So a client that
// is led around the proxy, by its own configuration or by somebody on the network, gets nothing: the registry itself has no
// such signature.
//
// The manifest at that tag is made here for an image that is admitted at this moment. It lists the signatures that the
// registry has, and one of ours for each name under which clients know the repository. Ours are good for ten minutes, so
// that one that somebody kept says nothing for long after the policy has changed its mind. For an image that is not
// admitted, what the registry has is served, as without countersigning.

const (
	// countersignSkew is how far clients' clocks may be behind: countersignatures are dated back by it, which ends them
	// as much earlier.
	countersignSkew = time.Minute
	// countersignFresh is how long a manifest of ours is served again: as long, a signature that was pushed to the
	// registry meanwhile is not seen at that tag.
	countersignFresh = 10 * time.Second
	// maxCountersigned bounds what is kept of manifests and blobs, in bytes. They have some kilobytes each, and as much more as
	// whoever may push puts into the signatures beside an image.
	maxCountersigned = 64 << 20
	// madeOverhead is what one takes besides its bytes.
	madeOverhead = 512
)

// Countersigner signs for the proxy. [countersign.Key] does.
type Countersigner interface {
	// Attach signs a manifest's digest under the logical name of its repository.
	Attach(repository, digest string, now time.Time) (countersign.Attachment, error)
	// Validity is for how long a signature is good.
	Validity() time.Duration
}

// countersigned makes and keeps the proxy's own signatures.
type countersigned struct {
	key   Countersigner
	names []string // what stands before a repository's path, for clients

	flights flights[*manifest]

	mu   sync.Mutex
	size int // of parts
	// Guarded by mu: manifests by partition, repository and the digest of the image, and what can be asked for by its own
	// digest. The latter outlives the former, for clients that have read an earlier manifest.
	made  map[string]made
	parts map[string]made
}

// made is a manifest of our making, or a blob of one.
type made struct {
	manifest *manifest // nil for a blob
	blob     []byte
	at       time.Time
}

// signatureTag is where cosign 2 keeps the signatures of the image with that digest.
var signatureTag = regexp.MustCompile(`^sha256-([a-f0-9]{64})\.sig$`)

// serveCountersigned serves the signatures of an image at their tag, ours among them if it is admitted. done is false
// where the registry's own answer is to be served.
func (p *Proxy) serveCountersigned(w http.ResponseWriter, r *http.Request, req request) (done bool, fail *failure) {
	if p.countersigned == nil {
		return false, nil
	}
	if part, ok := p.countersigned.part(r.Context(), req, p.now()); ok && part.manifest != nil {
		return true, p.writeManifest(w, r, *part.manifest)
	}
	of := signatureTag.FindStringSubmatch(req.tag)
	if of == nil {
		return false, nil
	}
	image := request{endpoint: endpointManifest, repository: req.repository, digest: v1.Hash{Algorithm: "sha256", Hex: of[1]}}
	j, fail := p.judgedManifest(r.Context(), image)
	switch {
	case fail != nil && fail.status != http.StatusNotFound:
		return true, fail // an outage must not look like an image that nobody vouches for
	case fail == nil && !j.evidence && !j.verdict.Admitted() && j.verdict.Outcome != gate.OutcomeRefused:
		if fail = p.serveManifest(w, r, req); fail != nil && fail.status == http.StatusNotFound {
			fail = p.refusal(j.verdict) // nor one about which nothing could be decided
		}
		return true, fail
	case fail != nil || j.evidence || !j.verdict.Admitted():
		return false, nil
	}
	m, fail := p.countersign(r.Context(), req, image.digest)
	if fail != nil {
		return true, fail
	}
	return true, p.writeManifest(w, r, *m)
}

// countersign makes the manifest for an admitted image once for all who ask at the same time: its key may lie in a KMS.
func (p *Proxy) countersign(ctx context.Context, req request, image v1.Hash) (*manifest, *failure) {
	key := partition(ctx) + req.repository + "@" + image.String()
	m, err := p.countersigned.flights.do(ctx, key, func(ctx context.Context) (*manifest, error) {
		m, fail := p.countersignAnew(ctx, req, image, key)
		if fail != nil {
			return nil, fail // an untyped nil otherwise
		}
		return m, nil
	})
	if err != nil {
		return nil, asFailure("signatures of "+image.String(), err)
	}
	return m, nil
}

// countersignAnew makes the manifest for an admitted image, or takes one that was made a moment ago.
func (p *Proxy) countersignAnew(ctx context.Context, req request, image v1.Hash, key string) (*manifest, *failure) {
	s := p.countersigned
	now := p.now()
	s.mu.Lock()
	before, ok := s.made[key]
	s.mu.Unlock()
	if ok && steady.Age(before.at, now) < countersignFresh {
		return before.manifest, nil
	}
	layers, fail := p.registrySignatures(ctx, req)
	if fail != nil {
		return nil, fail
	}
	var blobs [][]byte
	for _, name := range append([]string{p.registry}, s.names...) {
		a, err := s.key.Attach(name+"/"+req.repository, image.String(), now.Add(-countersignSkew))
		if err != nil {
			return nil, unavailable("the image is admitted, and could not be countersigned", err)
		}
		blobs = append(blobs, a.Payload)
		layers = append(layers, layer{MediaType: a.MediaType, Digest: hashOf(a.Payload), Size: int64(len(a.Payload)), Annotations: a.Annotations})
	}
	config := signatureConfig{RootFS: rootFS{Type: "layers"}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest.String())
	}
	configText, err := json.Marshal(config)
	if err != nil {
		return nil, unavailable("the image is admitted, and could not be countersigned", err)
	}
	blobs = append(blobs, configText)
	text, err := json.Marshal(signatureManifest{
		SchemaVersion: 2, MediaType: typeOCIManifest, Layers: layers,
		Config: layer{MediaType: typeImageConfig, Digest: hashOf(configText), Size: int64(len(configText))},
	})
	if err != nil {
		return nil, unavailable("the image is admitted, and could not be countersigned", err)
	}
	m := &manifest{bytes: text, digest: hashOf(text), doc: &document{mediaType: typeOCIManifest}, evidence: true}
	s.keep(partition(ctx)+req.repository+"@", key, made{manifest: m, at: now}, blobs)
	return m, nil
}

// registrySignatures are the layers that the registry has at the tag; none where it has nothing.
func (p *Proxy) registrySignatures(ctx context.Context, req request) ([]layer, *failure) {
	j, fail := p.judgedManifest(ctx, req)
	switch {
	case fail != nil && fail.status == http.StatusNotFound:
		return nil, nil
	case fail != nil:
		return nil, fail
	}
	var m signatureManifest
	if !j.evidence || j.doc.index || json.Unmarshal(j.bytes, &m) != nil {
		return nil, nil // something else stands at that tag, and is judged by whoever asks for it by its digest
	}
	return m.Layers, nil
}

// serveCountersignedBlob serves a blob that only we have.
func (p *Proxy) serveCountersignedBlob(w http.ResponseWriter, r *http.Request, req request) bool {
	part, ok := p.countersigned.part(r.Context(), req, p.now())
	if !ok || part.manifest != nil {
		return false
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", req.digest.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(part.blob)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(part.blob) // the client may be gone
	}
	return true
}

// part finds what was made for a repository by its own digest, unless it has expired.
func (s *countersigned) part(ctx context.Context, req request, now time.Time) (made, bool) {
	if s == nil || req.tag != "" {
		return made{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	part, ok := s.parts[partition(ctx)+req.repository+"@"+req.digest.String()]
	return part, ok && steady.Age(part.at, now) < s.key.Validity()
}

// keep remembers a manifest of ours and its blobs. What has expired goes, and when that is not enough, all does: it is made again
// when somebody asks.
func (s *countersigned) keep(prefix, key string, m made, blobs [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size > maxCountersigned {
		for k, old := range s.made {
			if m.at.Sub(old.at) > countersignFresh {
				delete(s.made, k)
			}
		}
		for k, old := range s.parts {
			if m.at.Sub(old.at) > s.key.Validity() {
				s.size -= old.cost()
				delete(s.parts, k)
			}
		}
	}
	if s.size > maxCountersigned {
		clear(s.made)
		clear(s.parts)
		s.size = 0
	}
	s.made[key] = m
	s.put(prefix+m.manifest.digest.String(), m)
	for _, b := range blobs {
		s.put(prefix+hashOf(b).String(), made{blob: b, at: m.at})
	}
}

// put adds a part; s.mu is held.
func (s *countersigned) put(key string, m made) {
	s.size += m.cost() - s.parts[key].cost()
	s.parts[key] = m
}

func (m made) cost() int {
	switch {
	case m.manifest != nil:
		return len(m.manifest.bytes) + madeOverhead
	case m.blob != nil:
		return len(m.blob) + madeOverhead
	}
	return 0
}

func hashOf(body []byte) v1.Hash {
	sum := sha256.Sum256(body)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// What a manifest of signatures is made of (image-spec 1.1).
type (
	signatureManifest struct {
		SchemaVersion int     `json:"schemaVersion"`
		MediaType     string  `json:"mediaType"`
		Config        layer   `json:"config"`
		Layers        []layer `json:"layers"`
	}
	layer struct {
		MediaType   string            `json:"mediaType"`
		Digest      v1.Hash           `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	signatureConfig struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		RootFS       rootFS `json:"rootfs"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
)

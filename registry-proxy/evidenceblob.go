package registryproxy

import (
	"bytes"
	"context"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tryEvidence reads the whole of a blob, which is small, if a manifest of evidence lists it and it is that by its content, too. It comes
// before any question to the gate: evidence must be readable when nothing can be decided. fail says why it is none, unless no
// evidence lists it.
func (p *Proxy) tryEvidence(ctx context.Context, req request) (evidence []byte, fail *failure) {
	nodes, _ := p.table.holdersOf(req.repository, req.digest)
	var body []byte
	for _, n := range nodes {
		if !n.evidence {
			continue
		}
		if body == nil {
			if body, fail = p.evidenceBlob(ctx, req.repository, req.digest); fail != nil {
				return nil, fail
			}
		}
		if int64(len(body)) != n.blobSize(req.digest) {
			fail = wrongSize("blob "+req.digest.String(), int64(len(body)), n.blobSize(req.digest))
			continue
		}
		if err := checkEvidenceBlob(body, req.digest == n.config, n.layers()); err != nil {
			fail = &failure{status: http.StatusForbidden, code: codeDenied, message: "blob " + req.digest.String() + " is listed as evidence only, and " + err.Error()}
			continue
		}
		return body, nil
	}
	return nil, fail
}

// looksInto reads all that a manifest lists which is evidence by its media types, and reports whether it is by its content,
// too. What cannot be read is a failure: whatever is not looked at now could be anything later.
func (p *Proxy) looksInto(ctx context.Context, repository string, m manifest) (bool, *failure) {
	if m.doc.index {
		return true, nil // it only lists
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	n := newNode(repository, m.digest, m.doc, true)
	seen := map[v1.Hash]bool{}
	for _, b := range n.blobs {
		if seen[b.digest] {
			continue
		}
		seen[b.digest] = true
		body, fail := p.evidenceBlob(ctx, repository, b.digest)
		if fail != nil {
			return false, fail
		}
		if int64(len(body)) != b.size {
			return false, wrongSize("blob "+b.digest.String(), int64(len(body)), b.size)
		}
		if checkEvidenceBlob(body, b.digest == n.config, n.layers()) != nil {
			return false, nil
		}
	}
	return true, nil
}

// evidenceBlob reads a blob of evidence once for all who ask, and remembers it for a while: clients that read slowly share one copy,
// and a signature is read from the upstream once although its manifest is looked into first.
func (p *Proxy) evidenceBlob(ctx context.Context, repository string, digest v1.Hash) ([]byte, *failure) {
	key := partition(ctx) + repository + "@" + digest.String()
	if found := p.evidence.get(key, p.now()); found != nil {
		return found.manifest.bytes, nil
	}
	body, err := p.evidenceFlights.do(ctx, key, func(ctx context.Context) ([]byte, error) {
		body, fail := p.readBlob(ctx, repository, digest)
		if fail != nil {
			return nil, fail // an untyped nil otherwise
		}
		if !p.upstream.passThrough {
			p.evidence.put(&remembered{key: key, manifest: manifest{bytes: body}, at: p.now(), fresh: digestFresh})
		}
		return body, nil
	})
	if err != nil {
		return nil, asFailure("blob "+digest.String(), err)
	}
	return body, nil
}

// readBlob reads a small blob and checks its digest.
func (p *Proxy) readBlob(ctx context.Context, repository string, digest v1.Hash) ([]byte, *failure) {
	what := "blob " + digest.String()
	release, err := p.fetchSlot(ctx)
	if err != nil {
		return nil, explain(what, err)
	}
	defer release()
	blob, fail := p.openBlob(ctx, repository, digest, "")
	if fail != nil {
		return nil, fail
	}
	defer blob.Close()
	if blob.resp.ContentLength > maxEvidenceLayer { // an image's layer, which somebody lists as evidence
		return nil, explain(what, errTooLarge)
	}
	body, err := io.ReadAll(io.LimitReader(blob, maxEvidenceLayer+1))
	switch {
	case err != nil:
		return nil, explain(what, err)
	case len(body) > maxEvidenceLayer:
		return nil, explain(what, errTooLarge)
	}
	if h, _, _ := v1.SHA256(bytes.NewReader(body)); h != digest {
		return nil, badUpstream(codeDigestInvalid, "the upstream registry sent a wrong blob: "+digest.String()+" has digest "+h.String(), nil)
	}
	return body, nil
}

package registryproxy

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
)

// grant is the permission to pass on one blob: an admitted manifest lists it with this size.
type grant struct {
	digest v1.Hash
	size   int64
}

// grantTimeout bounds the search for a manifest that lists a blob, and the questions to the gate about it.
const grantTimeout = 30 * time.Second

// serveBlob passes a blob on if it is evidence, or if a manifest of the repository that is admitted now lists it.
func (p *Proxy) serveBlob(w http.ResponseWriter, r *http.Request, req request) *failure {
	t, fail := p.findBlob(r, req)
	if fail != nil {
		return fail
	}
	w.Header().Set("Docker-Content-Digest", req.digest.String())
	w.Header().Set("Content-Type", "application/octet-stream")
	if t.evidence != nil {
		return p.held.write(w, r, t.evidence)
	}
	return p.sendBlob(w, r, req.repository, *t.granted)
}

// sendBlob passes on a blob, or the part of it that is asked for, from the cache if there is one.
func (p *Proxy) sendBlob(w http.ResponseWriter, r *http.Request, repository string, g grant) *failure {
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Etag", `"`+g.digest.String()+`"`)
	if r.Method == http.MethodHead {
		return p.headBlob(w, r, repository, g)
	}
	part, fail := parseRange(r.Header, g.digest, g.size)
	if fail != nil {
		w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(g.size, 10))
		return fail
	}
	if p.cache != nil {
		origin := p.registry + "/" + repository
		reader, err := p.cache.Get(r.Context(), origin, g.digest, g.size, p.blobSource(repository, g))
		if err == nil {
			defer reader.Close()
			if reader.Origin() == origin || p.present(r.Context(), repository, g) == nil {
				return p.sendKept(w, r, repository, g, reader, part)
			} // or the upstream itself says why not
		}
	}
	if part != nil {
		return p.streamRange(w, r, repository, g, *part)
	}
	return p.streamBlob(w, r, repository, g)
}

// findBlob finds out whether a blob may leave: it is evidence, or a manifest that lists it is admitted now. The table
// only says which manifests to ask about; where none of those will do, the replicas are asked for more, and then the
// repository is searched before anything is refused. Without a failure, it is settled.
func (p *Proxy) findBlob(r *http.Request, req request) (tried, *failure) {
	ctx, cancel := context.WithTimeout(r.Context(), grantTimeout)
	defer cancel()
	if fail := p.entitled(ctx, req.repository, "blobs/"+req.digest.String()); fail != nil {
		return tried{}, fail // before a verdict about an image that the caller may not read
	}
	start := p.now()
	t := p.tryBlob(ctx, req, false)
	if !t.settled() {
		p.learn(ctx, req.repository, req.digest)
		t = p.tryBlob(ctx, req, false)
	}
	if !t.settled() {
		var fail *failure
		if t, fail = p.searchBlob(ctx, req, t); fail != nil {
			return t, fail
		}
	}
	switch {
	case t.evidence != nil:
		return t, nil
	case t.granted != nil:
		p.logBlob(r, req, t.verdict, nil, p.now().Sub(start))
		return t, nil
	case p.observe:
		size, fail := p.probeBlob(ctx, req.repository, req.digest, -1)
		if fail == nil && size >= 0 { // no manifest is known that lists it: the digest is still checked
			t.granted = &grant{digest: req.digest, size: size}
			return t, nil
		}
	}
	fail := p.noGrant(ctx, req, t)
	p.logBlob(r, req, t.verdict, fail, p.now().Sub(start))
	return t, fail
}

// tried is what came of asking about the manifests that list a blob.
type tried struct {
	evidence    []byte   // the whole of it, if it is that
	notEvidence *failure // why it is not, if a manifest of evidence lists it
	searchErr   error    // why not the whole repository was seen, where it was searched

	// Of the manifests that are not evidence:
	granted   *grant
	verdict   gate.Verdict // of the manifest that granted it, or the first that did not
	holders   int
	undecided bool     // a holder could not be decided about
	more      bool     // there are more holders, or indexes that list them, than were asked about
	outage    *failure // why one could not even be asked about
}

// settled reports whether there is nothing more to look for.
func (t tried) settled() bool { return t.evidence != nil || t.granted != nil }

// unlisted reports whether no manifest is known that lists the blob.
func (t tried) unlisted() bool { return t.holders == 0 && t.notEvidence == nil }

// tryBlob reads a blob of evidence, or asks about the manifests that the table has for a blob. searched says that all indexes of the
// repository are there.
func (p *Proxy) tryBlob(ctx context.Context, req request, searched bool) tried {
	evidence, fail := p.tryEvidence(ctx, req)
	if evidence != nil {
		return tried{evidence: evidence}
	}
	t := p.tryHolders(ctx, req, searched)
	t.notEvidence = fail
	return t
}

// searchBlob searches the repository for manifests that list a blob, and asks about these. A digest that is made up must not cost the upstream
// thousands of requests, nor one that is there again and again: before is what is known without a search.
func (p *Proxy) searchBlob(ctx context.Context, req request, before tried) (tried, *failure) {
	repository, there := partition(ctx)+req.repository, p.upstream.passThrough // of whom entitled has asked
	if before.unlisted() {
		if p.fruitless.held(repository, req.digest, p.now()) {
			return before, nil
		}
		if !p.upstream.passThrough {
			_, fail := p.probeBlob(ctx, req.repository, req.digest, -1)
			if fail != nil && fail.status == http.StatusNotFound {
				return before, fail
			}
			there = fail == nil
		}
	}
	err := p.walk(ctx, req.repository)
	t := p.tryBlob(ctx, req, sawAll(err))
	t.searchErr = err
	if there && lasts(err) && !t.settled() && t.unlisted() {
		p.fruitless.note(repository, req.digest, p.now())
	}
	return t, nil
}

// tryHolders asks about the manifests that list a blob. parentsKnown says that the whole repository was searched for indexes.
func (p *Proxy) tryHolders(ctx context.Context, req request, parentsKnown bool) tried {
	nodes, all := p.table.holdersOf(req.repository, req.digest)
	t := tried{more: !all}
	for _, n := range nodes {
		if n.evidence || n.children != nil { // what an index lists is a manifest
			continue
		}
		t.holders++
		v, all, fail := p.ask(ctx, req.repository, n.key.digest, n.mediaType, parentsKnown)
		if fail != nil && !p.observe {
			t.outage = fail
			return t
		}
		if v.Admitted() || p.observe {
			t.verdict = v
			t.granted = &grant{digest: req.digest, size: n.blobSize(req.digest)}
			return t
		}
		t.undecided = t.undecided || v.Outcome != gate.OutcomeRefused
		t.more = t.more || !all
		if t.verdict.Outcome == "" || v.Outcome != gate.OutcomeRefused {
			t.verdict = v
		}
	}
	return t
}

// noGrant says why a blob is not served. It is DENIED only if every manifest of the repository was seen and those that
// list the blob are refused. A manifest without a tag is in no list that could be searched, so "no manifest lists it" is
// never known: that is 503, or 404 where the upstream has no such blob.
func (p *Proxy) noGrant(ctx context.Context, req request, t tried) *failure {
	what := "blob " + req.digest.String()
	switch {
	case t.outage != nil:
		return t.outage
	case t.undecided:
		f := p.refusal(t.verdict)
		f.status, f.code = http.StatusServiceUnavailable, codeUnavailable
		return f
	case t.more:
		return unavailable(what+": none of the manifests that list it, of those that were asked about, is admitted, and there are more", errTooManyHolders)
	case t.searchErr != nil:
		return unavailable(what+": no admitted manifest that lists it is known here, and the repository could not be searched for one", t.searchErr)
	case t.holders > 0:
		return p.refusal(t.verdict)
	case t.notEvidence != nil:
		return t.notEvidence
	}
	if _, fail := p.probeBlob(ctx, req.repository, req.digest, -1); fail != nil {
		return fail
	}
	return unavailable(what+": no manifest that lists it is known here; pull the image's manifest through this proxy first", nil)
}

// probeBlob asks the upstream whether it has a blob, and with which size, -1 if it does not say. It must be want unless
// that is -1.
func (p *Proxy) probeBlob(ctx context.Context, repository string, digest v1.Hash, want int64) (size int64, fail *failure) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	what := "blob " + digest.String()
	resp, err := p.upstream.do(ctx, call{method: http.MethodHead, repository: repository, path: "blobs/" + digest.String()})
	if err != nil {
		fail := explain(what, err)
		fail.outage = isOutage(ctx, err)
		return -1, fail
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode >= http.StatusInternalServerError:
		fail := statusFailure(what, resp.StatusCode)
		fail.outage = true
		return -1, fail
	case resp.StatusCode == http.StatusNotFound:
		return -1, notFound(codeBlobUnknown, what+" is not known to the upstream registry")
	case resp.StatusCode != http.StatusOK:
		return -1, statusFailure(what, resp.StatusCode)
	case want >= 0 && resp.ContentLength >= 0 && resp.ContentLength != want:
		return -1, wrongSize(what, resp.ContentLength, want)
	}
	return resp.ContentLength, nil
}

func wrongSize(what string, got, want int64) *failure {
	return badUpstream(codeSizeInvalid, fmt.Sprintf("%s: the upstream registry has %d bytes, its manifest says %d", what, got, want), nil)
}

func (p *Proxy) headBlob(w http.ResponseWriter, r *http.Request, repository string, g grant) *failure {
	var fail *failure
	if p.cache != nil && p.cache.Has(g.digest, g.size) {
		fail = p.present(r.Context(), repository, g)
	} else {
		_, fail = p.probeBlob(r.Context(), repository, g.digest, g.size)
	}
	if fail != nil {
		return fail
	}
	w.Header().Set("Content-Length", strconv.FormatInt(g.size, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

// openBlob starts reading a blob or a range of it. The body ends with an error when the upstream sends nothing for
// stallTimeout; there is no limit on the whole, layers may take hours.
func (p *Proxy) openBlob(ctx context.Context, repository string, digest v1.Hash, byteRange string) (*blobBody, *failure) {
	what := "blob " + digest.String()
	ctx, cancel := context.WithCancel(ctx)
	watchdog := time.AfterFunc(fetchTimeout, cancel) // the handshake and the response's head are in it
	resp, err := p.upstream.do(ctx, call{method: http.MethodGet, repository: repository, path: "blobs/" + digest.String(), byteRange: byteRange})
	if err != nil {
		watchdog.Stop()
		cancel()
		return nil, explain(what, err)
	}
	body := &blobBody{resp: resp, cancel: cancel, watchdog: watchdog}
	switch {
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPartialContent && byteRange != "":
		return body, nil
	case resp.StatusCode == http.StatusNotFound:
		body.Close()
		return nil, notFound(codeBlobUnknown, what+" is not known to the upstream registry")
	default:
		body.Close()
		return nil, statusFailure(what, resp.StatusCode)
	}
}

// stallTimeout is how long an upstream may leave a blob's stream without a byte, and how long a client may take for [blob.Step], which a
// line of 70 kbit/s does.
const stallTimeout = 60 * time.Second

// blobBody is a response's body under a watchdog.
type blobBody struct {
	resp     *http.Response
	cancel   context.CancelFunc
	watchdog *time.Timer
}

// Read implements io.Reader.
func (b *blobBody) Read(buf []byte) (int, error) {
	b.watchdog.Reset(stallTimeout)
	return b.resp.Body.Read(buf)
}

// Close ends the request, and with it the connection if there is more to come.
func (b *blobBody) Close() error {
	b.watchdog.Stop()
	b.cancel()
	return b.resp.Body.Close()
}

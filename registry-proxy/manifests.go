package registryproxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
)

// acceptManifests is what the upstream is asked for, whatever the client accepts: one reference has one answer.
const acceptManifests = typeOCIManifest + ", " + typeOCIIndex + ", " + typeDockerManifest + ", " + typeDockerList

// maxFetches bounds how many manifests, and blobs of evidence, are read at once, and with [maxManifest] and [maxEvidenceLayer] the memory
// that an upstream's endless answers can take (256 and 512 MiB).
const maxFetches = 64

const (
	// maxJudged bounds what manifests hold in memory while they are judged, which may take as long as a search of their repository: clients can ask
	// for any number, each another one. What was parsed of them takes a few times as much.
	maxJudged = 96 << 20
	// maxJudgedLarge is how far those above [smallAnswer] may fill it, which hardly any image has.
	maxJudgedLarge = 64 << 20
)

// fetchSlot waits for one of [maxFetches].
func (p *Proxy) fetchSlot(ctx context.Context) (release func(), err error) {
	select {
	case p.fetches <- struct{}{}:
		return func() { <-p.fetches }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// manifest is one manifest's bytes and what they are.
type manifest struct {
	bytes    []byte
	digest   v1.Hash // of bytes, computed here
	doc      *document
	evidence bool
	offline  string // when the upstream said so, if it cannot be asked now
}

// judged is a manifest with the decision about exactly its bytes.
type judged struct {
	manifest
	verdict gate.Verdict // zero for evidence
}

// serveManifest answers GET and HEAD alike: the reference is resolved once, the bytes that came back are judged, and those
// bytes are served.
func (p *Proxy) serveManifest(w http.ResponseWriter, r *http.Request, req request) *failure {
	start := p.now()
	j, fail := p.judgedManifest(r.Context(), req)
	if fail != nil {
		return fail
	}
	p.logDecision(r, req, j, p.now().Sub(start))
	// The one test: nothing but an admitting verdict, or evidence, goes past here, unless this registry is only observed.
	if !j.evidence && !j.verdict.Admitted() {
		if !p.observe {
			return p.refusal(j.verdict)
		}
		warn(w, j.verdict)
	}
	return p.writeManifest(w, r, j.manifest)
}

// judgedManifest resolves a reference once for all who ask at the same time.
func (p *Proxy) judgedManifest(ctx context.Context, req request) (judged, *failure) {
	key := partition(ctx) + req.repository + "@" + req.reference()
	j, err := p.manifestFlights.do(ctx, key, func(ctx context.Context) (judged, error) {
		j, fail := p.resolve(ctx, req, key)
		if fail != nil {
			return judged{}, fail // an untyped nil otherwise
		}
		return j, nil
	})
	if err != nil {
		return judged{}, asFailure("manifest "+req.reference(), err)
	}
	return j, nil
}

// writeManifest writes the answer.
func (p *Proxy) writeManifest(w http.ResponseWriter, r *http.Request, m manifest) *failure {
	h := w.Header()
	h.Set("Content-Type", m.doc.mediaType)
	h.Set("Docker-Content-Digest", m.digest.String())
	h.Set("Etag", `"`+m.digest.String()+`"`)
	if m.offline != "" {
		h.Set(headerOffline, m.offline)
	}
	return p.held.write(w, r, m.bytes)
}

// asFailure gives a flight's error back as what it was.
func asFailure(what string, err error) *failure {
	var fail *failure
	if errors.As(err, &fail) {
		return fail
	}
	return explain(what, err)
}

// resolve fetches a manifest, or takes the one that was served under this key a moment ago, and judges it.
func (p *Proxy) resolve(ctx context.Context, req request, key string) (judged, *failure) {
	ctx, rec := p.recording(ctx)
	if j, ok := p.again(ctx, req, key); ok {
		rec.keep(p.cache)
		return j, nil
	}
	j, fail := p.resolveAnew(ctx, req)
	if fail == nil && (j.evidence || j.verdict.Admitted()) {
		rec.keepAlso(p, req, j.manifest)
		p.remember(req, key, j.manifest)
	}
	return j, fail
}

// again judges a manifest that is remembered. What is not admitted any more is fetched anew.
func (p *Proxy) again(ctx context.Context, req request, key string) (judged, bool) {
	found := p.recent.get(key, p.now())
	if found == nil {
		return judged{}, false
	}
	if found.manifest.evidence {
		return judged{manifest: found.manifest}, true
	}
	v, _, fail := p.ask(ctx, req.repository, found.manifest.digest, found.manifest.doc.mediaType, req.tag != "")
	if fail != nil || !v.Admitted() {
		p.recent.forget(key)
		return judged{}, false
	}
	p.table.record(found.node, true)
	return judged{manifest: found.manifest, verdict: v}, true
}

// remember keeps a manifest for those who ask next. Where clients are passed through, each of them asks the upstream; and what the
// upstream said before an outage is asked for again.
func (p *Proxy) remember(req request, key string, m manifest) {
	if p.upstream.passThrough || m.offline != "" {
		return
	}
	fresh := digestFresh
	if req.tag != "" {
		fresh = tagFresh
	}
	p.recent.put(&remembered{key: key, manifest: m, node: newNode(req.repository, m.digest, m.doc, m.evidence), at: p.now(), fresh: fresh})
}

// resolveAnew fetches a manifest and judges it.
func (p *Proxy) resolveAnew(ctx context.Context, req request) (judged, *failure) {
	m, fail := p.fetchManifest(ctx, req.repository, req.reference())
	if fail != nil {
		return judged{}, fail
	}
	if !p.judging.take(m.bytes, len(m.bytes) > smallAnswer) {
		return judged{}, unavailable("manifests that wait for a decision hold as much of this proxy's memory as they may take; nothing was decided about any signature", nil)
	}
	defer p.judging.release(m.bytes)
	if m.evidence {
		p.table.record(newNode(req.repository, m.digest, m.doc, true), false)
		if m.evidence, fail = p.looksInto(ctx, req.repository, m); fail != nil {
			return judged{}, fail
		}
		if m.evidence {
			return judged{manifest: m}, nil
		}
	}
	v, fail := p.judge(ctx, req.repository, m.digest, m.doc.mediaType, req.tag == "")
	if fail != nil {
		if !p.observe {
			return judged{}, fail
		}
		v = p.undecided(req.repository, m.digest, v, fail)
	}
	switch {
	case p.observe && !v.Admitted():
		p.table.record(newNode(req.repository, m.digest, m.doc, false), false)
	case v.Admitted():
		if p.table.record(newNode(req.repository, m.digest, m.doc, false), true) {
			p.fruitless.forget(partition(ctx) + req.repository)
		}
	case p.isFallbackIndex(req.repository, req.reference(), m): // as the search for parents has found
		m.evidence = true
	}
	return judged{manifest: m, verdict: v}, nil
}

// fetchManifest reads one manifest from the upstream. Its digest is the one of the bytes; a digest that was asked for has
// to be it, and what headers say about it is never read.
func (p *Proxy) fetchManifest(ctx context.Context, repository, reference string) (manifest, *failure) {
	what := "manifest " + reference
	release, err := p.fetchSlot(ctx)
	if err != nil {
		return manifest{}, explain(what, err)
	}
	defer release()
	a, err := p.upstream.read(ctx, call{repository: repository, path: "manifests/" + reference, accept: acceptManifests}, maxManifest)
	switch {
	case err != nil:
		return manifest{}, explain(what, err)
	case a.status == http.StatusNotFound:
		return manifest{}, notFound(codeManifestUnknown, what+" is not known to the upstream registry")
	case a.status == http.StatusPreconditionFailed:
		return manifest{}, preconditionFailed(what, a.body)
	case a.status != http.StatusOK:
		return manifest{}, statusFailure(what, a.status)
	}
	m, err := p.readManifest(repository, reference, a.body, a.contentType)
	if err != nil {
		fail := badUpstream(codeManifestInvalid, what+err.Error(), nil)
		fail.broken = !json.Valid(a.body) || errors.Is(err, errOtherBytes) || errors.Is(err, errSentAs)
		return manifest{}, fail
	}
	if p.upstream.answers != nil { // who takes the upstream's own header of that name away
		m.offline = a.header.Get(headerOffline)
	}
	return m, nil
}

// errOtherBytes says that a digest was asked for, and something else came.
var errOtherBytes = errors.New("the upstream registry sent other bytes")

// readManifest reads the bytes that are said to be a manifest. Its errors continue a sentence that begins with its name.
func (p *Proxy) readManifest(repository, reference string, untrusted []byte, contentType string) (manifest, error) {
	sum := sha256.Sum256(untrusted)
	m := manifest{bytes: untrusted, digest: sha256Hash(hex.EncodeToString(sum[:]))}
	byDigest := strings.HasPrefix(reference, "sha256:")
	if byDigest && m.digest.String() != reference {
		return manifest{}, fmt.Errorf(": %w, with digest %s", errOtherBytes, m.digest)
	}
	var err error
	if m.doc, err = parseDocument(untrusted, contentType); err != nil {
		return manifest{}, fmt.Errorf(" is not a manifest that this proxy serves: %w", err)
	}
	m.evidence = m.doc.isEvidence() || p.isFallbackIndex(repository, reference, m)
	return m, nil
}

// isFallbackIndex reports whether m is the list of referrers at a fallback tag. Clients resolve the tag and then ask for
// the digest, so a digest passes as well once it was seen under such a tag.
func (p *Proxy) isFallbackIndex(repository, reference string, m manifest) bool {
	if !m.doc.isReferrersIndex() {
		return false
	}
	if fallbackTagPattern.MatchString(reference) {
		return true
	}
	known := p.table.get(repository, m.digest)
	return known != nil && known.evidence && reference == m.digest.String()
}

// judge asks the gate about one manifest, with the indexes that are known to list it. Where it has no acceptable signature
// of its own and an index that has may exist, the repository is searched for one first.
//
// A refusal by digest stands only after a complete search: until then it is not known whether a signed index lists the
// manifest, and "cannot decide" is the truth. By tag, the manifest is what the user named, and the refusal is about it.
func (p *Proxy) judge(ctx context.Context, repository string, digest v1.Hash, mediaType string, byDigest bool) (gate.Verdict, *failure) {
	asked, _ := p.table.parents(repository, digest)
	v, all, fail := p.ask(ctx, repository, digest, mediaType, !byDigest)
	if fail != nil || !v.ParentMayHelp() {
		return v, fail
	}
	p.learn(ctx, repository, digest)
	if found, _ := p.table.parents(repository, digest); !slices.Equal(found, asked) {
		asked = found
		if v, all, fail = p.ask(ctx, repository, digest, mediaType, !byDigest); fail != nil || v.Admitted() {
			return v, fail
		}
	}
	searchErr := p.walk(ctx, repository)
	parentsKnown := !byDigest || sawAll(searchErr)
	if found, _ := p.table.parents(repository, digest); !slices.Equal(found, asked) || parentsKnown && v.Code == gate.CodeParentUnknown {
		if v, all, fail = p.ask(ctx, repository, digest, mediaType, parentsKnown); fail != nil || v.Admitted() {
			return v, fail
		}
	}
	if !all && searchErr == nil {
		searchErr = errTooManyHolders
	}
	if searchErr != nil && byDigest {
		return v, unavailable("manifest "+digest.String()+" has no acceptable signature of its own, and the repository could not be searched for a signed index that lists it", searchErr)
	}
	return v, nil
}

// errTooManyHolders says that more indexes list a manifest than the gate is asked about.
var errTooManyHolders = fmt.Errorf("more than %d manifests list it", maxHolders)

// ask asks the gate about a manifest with the indexes that list it, as many at a time as the gate reads, until it is admitted.
// The answer is undecided if it was for any of them. all is false if there are more indexes than were asked about.
func (p *Proxy) ask(ctx context.Context, repository string, digest v1.Hash, mediaType string, parentsKnown bool) (v gate.Verdict, all bool, fail *failure) {
	parents, all := p.table.parents(repository, digest)
	for {
		some := parents[:min(len(parents), maxParents)]
		parents = parents[len(some):]
		answer, fail := p.admit(ctx, repository, digest, mediaType, some, parentsKnown)
		if fail != nil || answer.Admitted() {
			return answer, all, fail
		}
		if v.Outcome == "" || v.Outcome == gate.OutcomeRefused && answer.Outcome != gate.OutcomeRefused {
			v = answer
		}
		if len(parents) == 0 || answer.Outcome == gate.OutcomeRefused && !answer.ParentMayHelp() {
			return v, all, nil
		}
	}
}

// admit puts one question to the gate.
func (p *Proxy) admit(ctx context.Context, repository string, digest v1.Hash, mediaType string, parents []v1.Hash, parentsKnown bool) (gate.Verdict, *failure) {
	s, err := p.upstream.session(ctx, repository)
	if err != nil {
		return gate.Verdict{}, explain("looking for signatures of "+digest.String(), err)
	}
	return p.admitter.Admit(ctx, gate.Request{
		Repository: p.registry + "/" + repository,
		Digest:     digest,
		MediaType:  mediaType,
		Parents:    parents, ParentsKnown: parentsKnown,
		Source: attach.Source{
			Repository: p.upstream.registry.Repo(repository),
			Transport:  s.transport,
			Keychain:   p.upstream.keychain,
			As:         partition(ctx),
			UserAgent:  userAgent,
		},
	}), nil
}

// refusal is the answer to a manifest or blob that is not admitted: DENIED only if the gate decided so.
func (p *Proxy) refusal(v gate.Verdict) *failure {
	f := &failure{
		status:  http.StatusServiceUnavailable,
		code:    codeUnavailable,
		message: p.hideUpstream(v.Reason),
		detail:  p.detail(v),
	}
	if v.Outcome == gate.OutcomeRefused {
		f.status, f.code = http.StatusForbidden, codeDenied
	}
	if f.message == "" {
		f.message = "no decision could be made about " + v.Digest
	}
	return f
}

// detail is the verdict without what was asked where: the upstream's addresses are not for everybody who may pull.
func (p *Proxy) detail(v gate.Verdict) json.RawMessage {
	v.Lookups = nil
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return json.RawMessage(p.hideUpstream(string(raw)))
}

// hideUpstream writes the registry's logical name where the upstream's address stands.
func (p *Proxy) hideUpstream(s string) string {
	host := p.upstream.registry.RegistryStr()
	if host == p.registry {
		return s
	}
	return strings.ReplaceAll(s, host, p.registry)
}

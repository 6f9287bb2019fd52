package registryproxy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sync/semaphore"
)

const (
	// maxList bounds one page of tags, and all pages of referrers together, in bytes. What is parsed of them takes a few times as much,
	// and whoever may push writes the annotations.
	maxList = 4 << 20
	// maxLists bounds how many lists are read at once. Their places are not those of manifests, which are not to wait while a registry
	// takes its time to list tens of thousands of tags.
	maxLists = 16
	// maxReferrerPages and maxReferrers bound what is gathered for one answer: clients read one page only, so all of it
	// has to be in there.
	maxReferrerPages = 100
	maxReferrers     = 1000
)

// serveTags answers with one page of the upstream's tags. Tags are names, not content: they are passed on whatever the
// policy says about what they point to.
func (p *Proxy) serveTags(w http.ResponseWriter, r *http.Request, req request) *failure {
	tags, more, offline, fail := p.listTags(r.Context(), p.lists, req)
	if fail != nil {
		return fail
	}
	if offline != "" {
		w.Header().Set(headerOffline, offline)
	}
	if more && len(tags) > 0 {
		next := url.Values{"last": {tags[len(tags)-1]}}
		if req.pageSize >= 0 {
			next.Set("n", strconv.Itoa(req.pageSize))
		}
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?%s>; rel="next"`, req.visible, next.Encode()))
	}
	return writeJSON(w, r, p.held, "application/json", tagList{Name: req.visible, Tags: tags})
}

type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// listTags gives one page of the upstream's tags. During an outage they are those of the last complete list, under the rules
// of answers.go, and offline is when the upstream said so.
func (p *Proxy) listTags(ctx context.Context, places *semaphore.Weighted, req request) (tags []string, more bool, offline string, fail *failure) {
	tags, more, fail = p.fetchTags(ctx, places, req.repository, req.pageSize, req.last)
	switch {
	case fail == nil:
		p.keepTags(req, tags, more)
	case fail.status == http.StatusNotFound:
		p.forgetTags(req.repository)
	case fail.outage:
		if kept, further, at, ok := p.keptTags(req); ok {
			return kept, further, at, nil
		}
	}
	return tags, more, "", fail
}

// fetchTags reads one page when there is a place for that; more says that there is another after its last tag. A pageSize of -1 leaves the
// size to the upstream.
func (p *Proxy) fetchTags(ctx context.Context, places *semaphore.Weighted, repository string, pageSize int, last string) (tags []string, more bool, fail *failure) {
	what := "tags of " + repository
	query := url.Values{}
	if pageSize >= 0 {
		query.Set("n", strconv.Itoa(pageSize))
	}
	if last != "" {
		query.Set("last", last)
	}
	if err := places.Acquire(ctx, 1); err != nil {
		return nil, false, explain(what, err)
	}
	defer places.Release(1)
	a, err := p.upstream.read(ctx, call{repository: repository, path: "tags/list", query: query, accept: "application/json"}, maxList)
	switch {
	case err != nil:
		fail := explain(what, err)
		fail.outage = isOutage(ctx, err)
		return nil, false, fail
	case a.status == http.StatusNotFound:
		return nil, false, notFound(codeNameUnknown, "repository "+repository+" is not known to the upstream registry")
	case a.status != http.StatusOK:
		fail := statusFailure(what, a.status)
		fail.outage = a.status >= http.StatusInternalServerError
		return nil, false, fail
	}
	var list struct {
		Tags json.RawMessage `json:"tags"` // null, where there are none; what has no such member is something else
	}
	var all []string
	if json.Unmarshal(a.body, &list) != nil || json.Unmarshal(list.Tags, &all) != nil {
		return nil, false, badUpstream(codeUnknown, what+": the upstream registry's list is not JSON of the right form", nil)
	}
	tags = make([]string, 0, len(all))
	for _, tag := range all {
		if !isTag(tag) {
			return nil, false, badUpstream(codeUnknown, what+": the upstream registry's list holds something that is not a tag", nil)
		}
		if tag != last { // some registries begin with it
			tags = append(tags, tag)
		}
	}
	if pageSize >= 0 && len(tags) > pageSize {
		return tags[:pageSize], true, nil
	}
	_, more = nextLink(a.header)
	return tags, more, nil
}

// serveReferrers answers with everything that the upstream lists as referring to a digest, on one page, written anew.
// Descriptors are pointers: what they point to is judged when it is asked for, and neither its content nor another place to get it
// from is told before.
func (p *Proxy) serveReferrers(w http.ResponseWriter, r *http.Request, req request) *failure {
	ctx, cancel := context.WithTimeout(r.Context(), 2*fetchTimeout)
	defer cancel()
	all, offline, fail := p.fetchReferrers(ctx, req)
	if fail != nil {
		return fail
	}
	if offline != "" {
		w.Header().Set(headerOffline, offline)
	}
	list := referrerList{SchemaVersion: 2, MediaType: typeOCIIndex, Manifests: make([]descriptor, 0, len(all))}
	for _, d := range all {
		if req.artifactType == "" || d.ArtifactType == req.artifactType {
			d.Data, d.URLs = nil, nil
			list.Manifests = append(list.Manifests, d)
		}
	}
	if req.artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	return writeJSON(w, r, p.held, typeOCIIndex, list)
}

type referrerList struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// fetchReferrers gathers the upstream's pages. Only 404 means that the registry has no referrers API, and only then is
// the fallback tag read (distribution-spec, "Unavailable Referrers API"): taking an outage for that would hide signatures.
// offline is when the upstream said so, if it cannot be asked now.
func (p *Proxy) fetchReferrers(ctx context.Context, req request) (all []descriptor, offline string, fail *failure) {
	all, offline, none, fail := p.listedReferrers(ctx, req)
	if none {
		return p.fallbackReferrers(ctx, req)
	}
	return all, offline, fail
}

// listedReferrers reads the pages of the referrers API; none says that the upstream has no such API.
func (p *Proxy) listedReferrers(ctx context.Context, req request) (all []descriptor, offline string, none bool, fail *failure) {
	what := "referrers of " + req.digest.String()
	path := "referrers/" + req.digest.String()
	if err := p.lists.Acquire(ctx, 1); err != nil {
		return nil, "", false, explain(what, err)
	}
	defer p.lists.Release(1)
	var query url.Values
	size := 0
	for range maxReferrerPages {
		a, err := p.upstream.read(ctx, call{repository: req.repository, path: path, query: query, accept: typeOCIIndex}, maxList)
		switch {
		case err != nil:
			return nil, "", false, explain(what, err)
		case a.status == http.StatusNotFound && query == nil:
			return nil, "", true, nil
		case a.status != http.StatusOK:
			return nil, "", false, statusFailure(what, a.status)
		}
		if size += len(a.body); size > maxList {
			return nil, "", false, tooManyReferrers(what)
		}
		if p.upstream.answers != nil { // who takes the upstream's own header of that name away
			offline = cmp.Or(offline, a.header.Get(headerOffline))
		}
		page, err := parseReferrers(a)
		if err != nil {
			return nil, "", false, badUpstream(codeUnknown, what+": the upstream registry's list cannot be used: "+err.Error(), nil)
		}
		if all = append(all, page...); len(all) > maxReferrers {
			return nil, "", false, tooManyReferrers(what)
		}
		next, ok := nextLink(a.header)
		if !ok {
			return all, offline, false, nil
		}
		if query, ok = nextQuery(next, "/v2/"+req.repository+"/"+path, p.upstream.guard.host); !ok {
			return nil, "", false, badUpstream(codeUnknown, what+": the upstream registry's next page lies somewhere else", nil)
		}
	}
	return nil, "", false, tooManyReferrers(what)
}

func tooManyReferrers(what string) *failure {
	return badUpstream(codeUnknown, fmt.Sprintf("%s: the upstream registry lists more than %d, on more than %d pages, or in more than %d MiB", what, maxReferrers, maxReferrerPages, maxList>>20), nil)
}

func parseReferrers(a answer) ([]descriptor, error) {
	doc, err := parseDocument(a.body, a.contentType)
	if err != nil {
		return nil, err
	}
	if doc.mediaType != typeOCIIndex {
		return nil, fmt.Errorf("it is %s", doc.mediaType)
	}
	return doc.manifests, nil
}

// fallbackReferrers reads the list that clients keep at the tag sha256-<hex> of a registry without a referrers API.
func (p *Proxy) fallbackReferrers(ctx context.Context, req request) (all []descriptor, offline string, fail *failure) {
	m, fail := p.fetchManifest(ctx, req.repository, "sha256-"+req.digest.Hex)
	switch {
	case fail != nil && fail.status == http.StatusNotFound:
		return nil, "", nil
	case fail != nil:
		return nil, "", fail
	case m.doc.mediaType != typeOCIIndex:
		return nil, "", badUpstream(codeUnknown, "referrers of "+req.digest.String()+": the fallback tag holds something else than an index", nil)
	}
	return m.doc.manifests, m.offline, nil
}

// nextLink reads the target of Link: <...>; rel="next" (RFC 8288, as registries write it).
func nextLink(h http.Header) (string, bool) {
	for _, link := range h.Values("Link") {
		target, params, ok := strings.Cut(link, ">")
		if ok && strings.HasPrefix(target, "<") && (strings.Contains(params, `rel="next"`) || strings.Contains(params, "rel=next")) {
			return target[1:], true
		}
	}
	return "", false
}

// nextQuery takes the query from a link to a further page, and nothing else: the page must be one of the same list.
func nextQuery(link, path, host string) (url.Values, bool) {
	if len(link) > maxQuery*2 {
		return nil, false
	}
	u, err := url.Parse(link)
	if err != nil || u.Host != "" && u.Host != host || u.Path != "" && u.Path != path {
		return nil, false
	}
	query, err := url.ParseQuery(u.RawQuery)
	return query, err == nil && len(query) > 0
}

func writeJSON(w http.ResponseWriter, r *http.Request, held *Held, contentType string, v any) *failure {
	body, err := json.Marshal(v)
	if err != nil {
		return badUpstream(codeUnknown, "the list could not be written", err)
	}
	w.Header().Set("Content-Type", contentType)
	return held.writeList(w, r, body)
}

package registryproxy

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/touchmark/touchmark/registry-proxy/cache"
)

// tagsKey is the name under which a repository's tags are kept: all of them, whatever the pages in which they came.
const tagsKey = "tags/list"

// maxListed bounds how many tags are held of lists that clients are reading page by page, at 16 to 144 bytes each.
const maxListed = 128 << 10

// listings puts lists of tags together from the pages that clients read, so that they can be kept. The zero value is ready.
type listings struct {
	mu    sync.Mutex
	begun map[string]listing // by repository
	size  int                // tags in all of them
}

// listing is the beginning of a list. It is as old as its first page.
type listing struct {
	tags []string
	at   time.Time
}

// page adds what follows a tag, or begins a list, and returns the list if it is complete with that.
func (l *listings) page(repository, last string, tags []string, more bool, now time.Time) (whole listing, complete bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.begun[repository]
	switch {
	case last == "":
		whole = listing{slices.Clone(tags), now}
	case len(before.tags) == 0 || before.tags[len(before.tags)-1] != last:
		return listing{}, false // somebody began in the middle, or anew
	default:
		whole = listing{append(before.tags, tags...), before.at}
	}
	l.size -= len(before.tags)
	delete(l.begun, repository)
	switch {
	case !more:
		return whole, true
	case l.begun == nil || l.size+len(whole.tags) > maxListed:
		l.begun, l.size = map[string]listing{}, 0
	}
	if n := len(whole.tags); n > 0 && n <= maxListed { // nothing follows no tag
		l.begun[repository] = whole
		l.size += len(whole.tags)
	}
	return listing{}, false
}

// keepsTags reports whether lists of tags are kept for an outage.
func (p *Proxy) keepsTags() bool { return p.upstream.answers != nil && p.upstream.answers.offline > 0 }

// keepTags keeps what the upstream said of a repository's tags.
func (p *Proxy) keepTags(req request, tags []string, more bool) {
	if !p.keepsTags() {
		return
	}
	if req.pageSize >= 0 && len(tags) >= req.pageSize {
		more = true // so says nobody who does not know of further pages (Link)
	}
	whole, complete := p.upstream.answers.listings.page(req.repository, req.last, tags, more, p.now())
	if !complete {
		return
	}
	body, err := json.Marshal(whole.tags)
	if err != nil {
		return // strings can be written
	}
	p.cache.Keep(cache.Answer{Repository: p.registry + "/" + req.repository, Key: tagsKey, Status: http.StatusOK, ContentType: "application/json", At: whole.at, Body: body})
}

// forgetTags is called when the upstream says that there is no such repository. Only one that was there is remembered not
// to be: clients can make up any number of names.
func (p *Proxy) forgetTags(repository string) {
	if !p.keepsTags() {
		return
	}
	if kept, ok := p.cache.Recall(p.registry+"/"+repository, tagsKey); ok && kept.Status == http.StatusOK {
		p.cache.Keep(cache.Answer{Repository: kept.Repository, Key: tagsKey, Status: http.StatusNotFound, At: p.now()})
	}
}

// keptTags gives the page that a client asks for of the tags that were kept, and when the upstream named them.
func (p *Proxy) keptTags(req request) (tags []string, more bool, at string, ok bool) {
	if !p.keepsTags() {
		return nil, false, "", false
	}
	kept, ok := p.cache.Recall(p.registry+"/"+req.repository, tagsKey)
	if !ok || kept.Status != http.StatusOK || p.upstream.answers.isOver(kept.At) || json.Unmarshal(kept.Body, &tags) != nil {
		return nil, false, "", false
	}
	if i := slices.Index(tags, req.last); i >= 0 {
		tags = tags[i+1:]
	} else if req.last != "" { // a tag that is no more
		tags = slices.DeleteFunc(tags, func(tag string) bool { return tag <= req.last })
	}
	if req.pageSize >= 0 && len(tags) > req.pageSize {
		tags, more = tags[:req.pageSize], true
	}
	return tags, more, kept.At.UTC().Format(time.RFC3339), true
}

package registryproxy

import (
	"context"
	"net/http"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/steady"
	"github.com/touchmark/touchmark/registry-proxy/cache"
)

// The cache has one copy of a blob for all repositories of all registries. That a manifest lists it is no reason to give it away: whoever
// may push to one repository could list a layer of another, which they may not read, and get it from here. So a blob is served from the
// cache in a repository only if the upstream has it there, too: the one that it was fetched from, or that said so in the last
// [digestFresh]. During an outage, what it said before counts, up to [Config.Offline].

// maxPresent bounds how many blobs are remembered to be where they are, at some 200 bytes each.
const maxPresent = 1 << 16

// sightings are the blobs that the upstream had in a repository, and when.
type sightings struct {
	mu sync.Mutex
	at map[tableKey]time.Time
}

// seen notes that the upstream has a blob in a repository.
func (p *Proxy) seen(repository string, digest v1.Hash) {
	if p.cache == nil || p.upstream.passThrough {
		return
	}
	now := p.now()
	p.sightings.mu.Lock()
	if p.sightings.at == nil || len(p.sightings.at) >= maxPresent {
		p.sightings.at = map[tableKey]time.Time{}
	}
	p.sightings.at[tableKey{repository, digest}] = now
	p.sightings.mu.Unlock()
	if p.upstream.answers != nil && p.upstream.answers.offline > 0 {
		p.cache.Keep(cache.Answer{Repository: p.registry + "/" + repository, Key: sightingKey(digest), Status: http.StatusOK, At: now})
	}
}

// sightingKey names a sighting among the answers that are kept; no request has it.
func sightingKey(digest v1.Hash) string { return "seen/" + digest.String() }

// present makes sure that the upstream has a blob in a repository, before it is served from the cache there. Where clients are passed
// through, [Proxy.entitled] has asked.
func (p *Proxy) present(ctx context.Context, repository string, g grant) *failure {
	if p.upstream.passThrough {
		return nil
	}
	p.sightings.mu.Lock()
	at, ok := p.sightings.at[tableKey{repository, g.digest}]
	p.sightings.mu.Unlock()
	if ok && steady.Age(at, p.now()) < digestFresh {
		return nil
	}
	_, fail := p.probeBlob(ctx, repository, g.digest, g.size)
	switch {
	case fail == nil:
		p.seen(repository, g.digest)
		return nil
	case fail.outage && p.upstream.answers != nil && p.upstream.answers.offline > 0:
		kept, ok := p.cache.Recall(p.registry+"/"+repository, sightingKey(g.digest))
		if ok && !p.upstream.answers.isOver(kept.At) {
			return nil
		}
	}
	return fail
}

package registryproxy

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// Peers are the other replicas of this proxy. See registry-proxy/peers.
type Peers interface {
	// Holders names manifests of a repository, written with its registry, that list a digest, as the replicas know
	// them. It is a hint: whoever gets it reads each of them from the upstream.
	Holders(ctx context.Context, repository string, digest v1.Hash) []v1.Hash
}

const (
	// maxHints bounds how many manifests are read on the word of the peers, and learnTimeout how long that takes.
	maxHints     = maxHolders
	learnTimeout = 10 * time.Second
	// maxLoaded bounds how many repositories are remembered to have been read from the cache, and maxLoadedManifests how much of each is.
	maxLoaded          = 4096
	maxLoadedManifests = 4096
)

// learn looks for manifests that list a digest where that costs little, before the repository is searched: in the cache of
// an earlier process, and among the replicas. What comes of it are facts for the table, whether or not it was complete. It grants nothing: a manifest that a
// replica names is read from the upstream, in the same repository and by its digest, and the gate is asked about it.
func (p *Proxy) learn(ctx context.Context, repository string, digest v1.Hash) {
	p.loadKept(repository)
	if p.peers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	key := partition(ctx) + repository + "@" + digest.String()
	_, _ = p.learnFlights.do(ctx, key, func(ctx context.Context) (struct{}, error) { // what was not learnt is searched for
		var group errgroup.Group
		group.SetLimit(walkWorkers)
		hints := p.peers.Holders(ctx, p.registry+"/"+repository, digest)
		hints = hints[:min(len(hints), maxHints)]
		for _, hint := range hints {
			if p.table.get(repository, hint) != nil {
				continue
			}
			group.Go(func() error {
				if m, fail := p.fetchManifest(ctx, repository, hint.String()); fail == nil {
					p.table.record(newNode(repository, m.digest, m.doc, m.evidence), false)
				}
				return nil
			})
		}
		_ = group.Wait() // what could not be read is not there
		for _, hint := range slices.Backward(hints) {
			p.table.prefer(repository, hint, digest) // in the replica's order: no more than maxHolders are asked about
		}
		return struct{}{}, nil
	})
}

// Holders names the manifests of a repository, written with its registry, that list a digest, and the indexes that list those, as far as
// this proxy knows: what it tells other replicas.
func (p *Proxy) Holders(repository string, digest v1.Hash) []v1.Hash {
	repository, ok := strings.CutPrefix(repository, p.registry+"/")
	if !ok {
		return nil
	}
	nodes, _ := p.table.holdersOf(repository, digest)
	var all []v1.Hash
	for _, n := range nodes {
		all = append(all, n.key.digest)
	}
	for _, n := range nodes {
		above, _ := p.table.parents(repository, n.key.digest)
		all = append(all, above...)
	}
	return all[:min(len(all), maxHints)]
}

// loadKept fills the table from the manifests that an earlier process has kept, once for each repository.
func (p *Proxy) loadKept(repository string) {
	if p.cache == nil || p.upstream.passThrough {
		return
	}
	p.mu.Lock()
	done := p.loaded[repository]
	if len(p.loaded) >= maxLoaded {
		clear(p.loaded)
	}
	p.loaded[repository] = true
	p.mu.Unlock()
	if done {
		return
	}
	const manifests = "manifests/"
	read := 0
	for a := range p.cache.Recalled(p.registry+"/"+repository, manifests) {
		m, err := p.readManifest(repository, strings.TrimPrefix(a.Key, manifests), a.Body, a.ContentType)
		if err == nil && a.Status == http.StatusOK {
			p.table.record(newNode(repository, m.digest, m.doc, m.evidence), false)
		}
		if read++; read == maxLoadedManifests {
			return
		}
	}
}

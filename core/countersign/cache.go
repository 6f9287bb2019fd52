package countersign

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// reserve is the share of its validity in which a countersignature is not handed out any more: of ten minutes, the last two. They are for the client, which
	// checks it within seconds, before it fetches any layer.
	reserve = 5
	// maxCached bounds the countersignatures that are kept, at about a kilobyte each.
	maxCached = 2048
)

// cache keeps countersignatures for a short while: a pull of one image by many clients, or on many threads, costs one signature.
type cache struct {
	mu      sync.Mutex
	made    map[image]signed
	flights singleflight.Group
}

type image struct{ repository, digest string }

type signed struct {
	blob []byte
	at   time.Time
}

func newCache() *cache { return &cache{made: make(map[image]signed)} }

// Countersign returns a countersignature of the key's form for an image that was admitted now: the whole blob that a lookaside serves. One that was
// made before is returned again, until a fifth of its validity is left. That prolongs nothing: it expires when it would have.
func (k *Key) Countersign(repository, digest string, now time.Time) ([]byte, error) {
	im, keep := image{repository, digest}, k.validity-k.validity/reserve
	if blob, ok := k.cache.get(im, now, keep); ok {
		return blob, nil
	}
	blob, err, _ := k.cache.flights.Do(repository+"@"+digest, func() (any, error) {
		sign := k.OpenPGP
		if k.form == Sigstore {
			sign = k.Sigstore
		}
		blob, err := sign(repository, digest, now)
		if err == nil {
			k.cache.put(im, signed{blob, now}, keep)
		}
		return blob, err
	})
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", digest, repository, err)
	}
	return blob.([]byte), nil
}

func (c *cache) get(im image, now time.Time, keep time.Duration) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.made[im]
	return s.blob, ok && fresh(s, now, keep)
}

// fresh compares wall clocks, as clients do. What was made in the future, by a clock that was set back, they refuse.
func fresh(s signed, now time.Time, keep time.Duration) bool {
	age := now.Round(0).Sub(s.at.Round(0))
	return age >= 0 && age < keep
}

func (c *cache) put(im image, s signed, keep time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.made) >= maxCached {
		for im, old := range c.made {
			if !fresh(old, s.at, keep) {
				delete(c.made, im)
			}
		}
	}
	if len(c.made) >= maxCached {
		clear(c.made) // more images within minutes than are kept: they are signed again
	}
	c.made[im] = s
}

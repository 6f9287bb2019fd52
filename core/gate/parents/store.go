package parents

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Store remembers what indexes list. Its entries follow from the indexes'
// digests, so that they stay true for ever and hold no verdict: whoever uses
// one has the gate read the index again. A store may forget anything at any
// time, which costs requests and nothing else; that is why no method returns an
// error. It is used by many goroutines.
//
// A place is a physical repository as one person's credentials show it. It is
// to be compared, not read. What is remembered for one place is never given for
// another.
type Store interface {
	// Known reports whether Remember was called for this index in this place.
	Known(ctx context.Context, place string, index v1.Hash) bool
	// Parents gives at most limit indexes that list the manifest, in the order in
	// which they were remembered.
	Parents(ctx context.Context, place string, manifest v1.Hash, limit int) []v1.Hash
	// Remember keeps what an index lists: at most [MaxChildren] digests, each once.
	Remember(ctx context.Context, place string, index v1.Hash, children []v1.Hash)
}

// MaxChildren is the largest number of manifests in an index that is remembered.
// The largest official images list about forty, attestations included.
const MaxChildren = 1000

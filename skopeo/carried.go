package skopeo

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
)

// carried is a blob on its way. The source is asked when the first byte is read, so that nothing waits open while the destination is busy.
type carried struct {
	*copying
	ctx    context.Context
	desc   v1.Descriptor
	opened atomic.Bool
	stall  *time.Timer // ends an upload that takes nothing any more; nil for a layout

	mu     sync.Mutex
	failed error // guarded by mu: the last error of the source
}

// failure is what was wrong at the source, nil if nothing was: an upload that it ended has only an error about its own connection.
func (b *carried) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

func (b *carried) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
}

// Digest is the blob's, as its descriptor has it and as it is checked to be.
func (b *carried) Digest() (v1.Hash, error) { return b.desc.Digest, nil }

// DiffID is the blob's own digest: nothing here unpacks.
func (b *carried) DiffID() (v1.Hash, error) { return b.desc.Digest, nil }

// Size is the descriptor's.
func (b *carried) Size() (int64, error) { return b.desc.Size, nil }

// MediaType is the descriptor's.
func (b *carried) MediaType() (types.MediaType, error) { return b.desc.MediaType, nil }

// Compressed gives the blob's bytes.
func (b *carried) Compressed() (io.ReadCloser, error) { return &carriedReader{carried: b}, nil }

// Uncompressed gives the same bytes: nothing here unpacks.
func (b *carried) Uncompressed() (io.ReadCloser, error) { return b.Compressed() }

type carriedReader struct {
	*carried
	blob          io.ReadCloser
	n             int64
	whole, closed bool
}

// Read reads from the source, whose bytes are checked against the descriptor.
func (r *carriedReader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, io.ErrClosedPipe
	}
	if r.blob == nil {
		var err error
		if r.blob, err = attach.OpenBlob(r.ctx, r.src.Source, r.desc); err != nil {
			r.fail(err)
			return 0, err
		}
		r.opened.Store(true)
	}
	if r.stall != nil {
		r.stall.Reset(stallTimeout)
	}
	n, err := r.blob.Read(p)
	if err != nil && err != io.EOF {
		r.fail(err)
	}
	r.n += int64(n)
	r.whole = r.whole || err == io.EOF
	r.result.mu.Lock()
	r.result.BytesSent += int64(n)
	r.result.mu.Unlock()
	r.copying.progress(func(p *Progress) { p.BytesDone += int64(n) })
	return n, err
}

// Close closes the source. What an upload that is begun anew had read doesn't count as progress.
func (r *carriedReader) Close() error {
	if r.closed || r.blob == nil {
		r.closed = true
		return nil
	}
	r.closed = true
	if !r.whole {
		r.copying.progress(func(p *Progress) { p.BytesDone -= r.n })
	}
	return r.blob.Close()
}

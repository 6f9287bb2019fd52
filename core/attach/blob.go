package attach

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	stdhash "hash"
	"io"
	"net/http"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// stallTimeout bounds how long a registry may send nothing in the middle of a blob. A blob may take hours; silence may not.
const stallTimeout = time.Minute

// HasBlob says whether the repository has the blob with this digest.
func HasBlob(ctx context.Context, dst Source, digest v1.Hash) (bool, error) {
	if err := checkSubject(dst, digest); err != nil {
		return false, err
	}
	c, err := open(ctx, dst, transport.PullScope)
	if err != nil {
		return false, err
	}
	r, err := c.do(ctx, http.MethodHead, c.url("blobs/"+digest.String()), nil, nil, 0, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	return r.status == http.StatusOK, nil
}

// OpenBlob opens a blob of any size. The reader returns an error in the place of io.EOF unless exactly the descriptor's size was read and it has the
// descriptor's digest, so that whoever copies until io.EOF copied the right bytes. A blob that isn't there is a [*LookupError] with status 404.
func OpenBlob(ctx context.Context, src Source, desc v1.Descriptor) (io.ReadCloser, error) {
	if err := checkSubject(src, desc.Digest); err != nil {
		return nil, err
	}
	if desc.Size < 0 {
		return nil, fmt.Errorf("%s: size %d", desc.Digest, desc.Size)
	}
	c, err := open(ctx, src, transport.PullScope)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u := c.url("blobs/" + desc.Digest.String())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	stall := time.AfterFunc(stallTimeout, func() { cancel(fmt.Errorf("nothing came for %s", stallTimeout)) })
	resp, err := c.http.Do(req)
	stall.Stop()
	switch {
	case err != nil:
		err = c.record(http.MethodGet, u, 0, errors.Join(withoutURL(err), stalled(ctx)))
		cancel(nil)
		return nil, err
	case resp.StatusCode != http.StatusOK:
		text := errorText(resp)
		resp.Body.Close()
		cancel(nil)
		return nil, c.record(http.MethodGet, u, resp.StatusCode, errors.New(text))
	}
	return &blobReader{url: u, desc: desc, body: resp.Body, sum: sha256.New(), ctx: ctx, cancel: cancel, stall: stall}, nil
}

// stalled is the reason why a request was given up by us, nil if it wasn't.
func stalled(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

type blobReader struct {
	url    string
	desc   v1.Descriptor
	body   io.ReadCloser
	sum    stdhash.Hash
	n      int64
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  *time.Timer // runs while a read waits
}

func (r *blobReader) Read(p []byte) (int, error) {
	r.stall.Reset(stallTimeout)
	n, err := r.body.Read(p)
	r.stall.Stop()
	r.n += int64(n)
	r.sum.Write(p[:n])
	switch {
	case r.n > r.desc.Size:
		return 0, r.wrong(fmt.Errorf("%w: longer than %d bytes", errMismatch, r.desc.Size))
	case err == io.EOF && r.n < r.desc.Size:
		return n, r.wrong(fmt.Errorf("%w: ends after %d of %d bytes", errMismatch, r.n, r.desc.Size))
	case err == io.EOF:
		if got := hex.EncodeToString(r.sum.Sum(nil)); got != r.desc.Digest.Hex {
			return n, r.wrong(fmt.Errorf("%w: content has digest sha256:%s", errMismatch, got))
		}
		return n, io.EOF
	case err != nil:
		if cause := stalled(r.ctx); cause != nil {
			err = cause
		}
		return n, r.wrong(fmt.Errorf("after %d of %d bytes: %w", r.n, r.desc.Size, err))
	}
	return n, nil
}

func (r *blobReader) wrong(err error) error {
	return &LookupError{URL: r.url, Status: http.StatusOK, Err: err}
}

func (r *blobReader) Close() error {
	r.stall.Stop()
	defer r.cancel(nil)
	return r.body.Close()
}

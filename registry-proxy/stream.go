package registryproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/registry-proxy/blob"
	"github.com/touchmark/touchmark/registry-proxy/cache"
)

// blobSource opens a whole blob at the upstream, for the cache or for one client.
func (p *Proxy) blobSource(repository string, g grant) cache.OpenFunc {
	return func(ctx context.Context) (io.ReadCloser, error) {
		body, fail := p.openBlob(ctx, repository, g.digest, "")
		if fail != nil {
			return nil, fail
		}
		if n := body.resp.ContentLength; n >= 0 && n != g.size {
			body.Close()
			return nil, wrongSize("blob "+g.digest.String(), n, g.size)
		}
		p.seen(repository, g.digest)
		return body, nil
	}
}

// streamBlob passes a whole blob on. Of a blob that turns out to be another one, its end never leaves, and the connection
// is cut, so no client can take it for complete.
func (p *Proxy) streamBlob(w http.ResponseWriter, r *http.Request, repository string, g grant) *failure {
	body, err := p.blobSource(repository, g)(r.Context())
	if err != nil {
		return asFailure("blob "+g.digest.String(), err)
	}
	defer body.Close()
	out := &blobWriter{w: w, control: http.NewResponseController(w), status: http.StatusOK, length: g.size}
	return p.sent(r, repository, g, out, blob.Copy(out, body, g.digest, g.size))
}

// sendKept passes a blob on from the cache, or while it gets there; with a part, that part of it.
func (p *Proxy) sendKept(w http.ResponseWriter, r *http.Request, repository string, g grant, reader *cache.Reader, part *byteRange) *failure {
	out := &blobWriter{w: w, control: http.NewResponseController(w), status: http.StatusOK, length: g.size}
	from, to := int64(0), g.size
	if part != nil {
		from, to = part.start, part.end+1
		out.status, out.length = http.StatusPartialContent, part.length()
		out.contentRange = part.of(g.size)
	}
	return p.sent(r, repository, g, out, reader.Copy(r.Context(), out, from, to))
}

// sent ends the answer to which out belongs.
func (p *Proxy) sent(r *http.Request, repository string, g grant, out *blobWriter, err error) *failure {
	switch {
	case err == nil:
		return nil
	case out.started:
		p.cutOff(r, repository, g, err)
		return nil // not reached
	case errors.Is(err, blob.ErrWrong):
		return badUpstream(codeDigestInvalid, "the upstream registry sent a "+err.Error(), nil)
	}
	return asFailure("blob "+g.digest.String(), err)
}

// cutOff ends a connection in the midst of a blob.
func (p *Proxy) cutOff(r *http.Request, repository string, g grant, err error) {
	p.logger.WarnContext(r.Context(), "blob cut off", "repository", p.registry+"/"+repository, "digest", g.digest.String(), "address", clientAddress(r), "error", err)
	panic(http.ErrAbortHandler)
}

// blobWriter sends the response's head with the first byte, so that what is found out before is still an error answer,
// and gives a client that reads nothing no more than stallTimeout.
type blobWriter struct {
	w            http.ResponseWriter
	control      *http.ResponseController
	status       int
	length       int64
	contentRange string // of a part
	started      bool
}

// Write implements io.Writer.
func (b *blobWriter) Write(p []byte) (int, error) {
	b.start()
	return b.w.Write(p)
}

// ReadFrom implements io.ReaderFrom: the kernel copies files, where w can have it do so. Each call has stallTimeout, so what is copied at a time must be small.
func (b *blobWriter) ReadFrom(r io.Reader) (int64, error) {
	b.start()
	return io.Copy(b.w, r)
}

func (b *blobWriter) start() {
	if !b.started {
		b.started = true
		b.w.Header().Set("Content-Length", strconv.FormatInt(b.length, 10))
		if b.contentRange != "" {
			b.w.Header().Set("Content-Range", b.contentRange)
		}
		b.w.WriteHeader(b.status)
	}
	_ = b.control.SetWriteDeadline(time.Now().Add(stallTimeout)) // a writer that can't is a test's recorder
}

// byteRange is a range within a blob, both ends included.
type byteRange struct{ start, end int64 }

func (b byteRange) length() int64 { return b.end - b.start + 1 }

// of is the Content-Range of this part of a blob.
func (b byteRange) of(size int64) string { return fmt.Sprintf("bytes %d-%d/%d", b.start, b.end, size) }

// parseRange reads a single byte range (RFC 9110, 14.1.2). Several ranges, another unit, an If-Range condition that is not this
// blob's entity tag, and a range that is the whole blob give nil: the whole is sent, and verified.
func parseRange(h http.Header, digest v1.Hash, size int64) (*byteRange, *failure) {
	all, condition := h.Values("Range"), h.Values("If-Range")
	if len(all) != 1 || len(condition) > 1 || len(condition) == 1 && condition[0] != `"`+digest.String()+`"` {
		return nil, nil
	}
	spec, ok := strings.CutPrefix(all[0], "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return nil, nil
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	start, startErr := strconv.ParseUint(first, 10, 63)
	end, endErr := strconv.ParseUint(last, 10, 63)
	var b byteRange
	switch {
	case !ok || first != "" && startErr != nil || last != "" && endErr != nil || first == "" && last == "":
		return nil, nil // malformed: RFC 9110 has it ignored
	case first == "": // the last bytes
		if end == 0 {
			return nil, unsatisfiable()
		}
		b = byteRange{max(0, size-int64(end)), size - 1}
	case last == "":
		b = byteRange{int64(start), size - 1}
	case end < start:
		return nil, nil
	default:
		b = byteRange{int64(start), min(int64(end), size-1)}
	}
	if b.start >= size {
		return nil, unsatisfiable()
	}
	if b.length() == size {
		return nil, nil
	}
	return &b, nil
}

func unsatisfiable() *failure {
	return &failure{status: http.StatusRequestedRangeNotSatisfiable, code: codeSizeInvalid, message: "the range lies outside the blob"}
}

// streamRange passes a part of a blob on. A part cannot be verified by itself: it is served because an admitted manifest
// lists this digest with this size, and the client verifies the whole. An upstream that ignores the range sends the whole,
// which is then verified and served as such.
func (p *Proxy) streamRange(w http.ResponseWriter, r *http.Request, repository string, g grant, b byteRange) *failure {
	body, fail := p.openBlob(r.Context(), repository, g.digest, fmt.Sprintf("bytes=%d-%d", b.start, b.end))
	if fail != nil {
		return fail
	}
	if body.resp.StatusCode == http.StatusOK {
		body.Close()
		return p.streamBlob(w, r, repository, g)
	}
	defer body.Close()
	want := b.of(g.size)
	if got := body.resp.Header.Get("Content-Range"); got != want {
		return badUpstream(codeSizeInvalid, "blob "+g.digest.String()+": the upstream registry sent another range than was asked for", nil)
	}
	if n := body.resp.ContentLength; n >= 0 && n != b.length() {
		return wrongSize("range of blob "+g.digest.String(), n, b.length())
	}
	out := &blobWriter{w: w, control: http.NewResponseController(w), status: http.StatusPartialContent, length: b.length(), contentRange: want}
	n, err := blob.Part(out, body, b.length())
	if err == nil && n < b.length() {
		err = fmt.Errorf("%w: the range ends after %d of %d bytes", blob.ErrWrong, n, b.length())
	}
	return p.sent(r, repository, g, out, err)
}

package registryproxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tailSize is how much of a blob's end is held back until the digest of the whole is known; it is also the size of one
// read and write.
const tailSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([tailSize]byte) }}

// errWrongBlob is wrapped by the errors about a blob that is not what its manifest says.
var errWrongBlob = errors.New("wrong blob")

// streamBlob passes a whole blob on. Of a blob that turns out to be another one, its last chunk (for small ones: all of
// it) never leaves, and the connection is cut, so no client can take it for complete.
func (p *Proxy) streamBlob(w http.ResponseWriter, r *http.Request, repository string, g grant) *failure {
	body, fail := p.openBlob(r.Context(), repository, g.digest, "")
	if fail != nil {
		return fail
	}
	defer body.Close()
	if n := body.resp.ContentLength; n >= 0 && n != g.size {
		return wrongSize("blob "+g.digest.String(), n, g.size)
	}
	out := &blobWriter{w: w, control: http.NewResponseController(w), status: http.StatusOK, length: g.size}
	err := copyVerified(out, body, g.digest, g.size)
	if err == nil {
		return nil
	}
	if !out.started {
		if errors.Is(err, errWrongBlob) {
			return badUpstream(codeDigestInvalid, "the upstream registry sent a "+err.Error(), nil)
		}
		return explain("blob "+g.digest.String(), err)
	}
	p.logger.WarnContext(r.Context(), "blob cut off", "repository", p.registry+"/"+repository, "digest", g.digest.String(), "client", clientAddress(r), "error", err)
	panic(http.ErrAbortHandler)
}

// copyVerified copies size bytes with the given digest from untrusted to w. The last [tailSize] of them (all of a small
// blob) are written when length and digest of the whole are confirmed.
func copyVerified(w io.Writer, untrusted io.Reader, digest v1.Hash, size int64) error {
	buf := buffers.Get().(*[tailSize]byte)
	defer buffers.Put(buf)
	sum := sha256.New()
	tail := buf[:min(size, tailSize)]
	head := size - int64(len(tail))
	n, err := io.CopyBuffer(w, io.TeeReader(io.LimitReader(untrusted, head), sum), buf[:])
	if err != nil {
		return err
	}
	if n == head {
		var last int
		last, err = io.ReadFull(untrusted, tail)
		n += int64(last)
	}
	switch {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return err
	case n != size:
		return fmt.Errorf("%w: %s ends after %d of %d bytes", errWrongBlob, digest, n, size)
	}
	var more [1]byte
	if n, _ := io.ReadFull(untrusted, more[:]); n > 0 {
		return fmt.Errorf("%w: %s is longer than its %d bytes", errWrongBlob, digest, size)
	}
	sum.Write(tail)
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest.Hex {
		return fmt.Errorf("%w: %s has digest sha256:%s", errWrongBlob, digest, got)
	}
	_, err = w.Write(tail)
	return err
}

// blobWriter sends the response's head with the first byte, so that what is found out before is still an error answer,
// and gives a client that reads nothing no more than stallTimeout.
type blobWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	status  int
	length  int64
	started bool
}

// Write implements io.Writer.
func (b *blobWriter) Write(p []byte) (int, error) {
	if !b.started {
		b.started = true
		b.w.Header().Set("Content-Length", strconv.FormatInt(b.length, 10))
		b.w.WriteHeader(b.status)
	}
	_ = b.control.SetWriteDeadline(time.Now().Add(stallTimeout)) // a writer that can't is a test's recorder
	return b.w.Write(p)
}

// byteRange is a range within a blob, both ends included.
type byteRange struct{ start, end int64 }

func (b byteRange) length() int64 { return b.end - b.start + 1 }

// parseRange reads a single byte range (RFC 9110, 14.1.2). Several ranges, another unit, an If-Range condition, and a
// range that is the whole blob give nil: the whole is sent, and verified.
func parseRange(h http.Header, size int64) (*byteRange, *failure) {
	all := h.Values("Range")
	if len(all) != 1 || h.Get("If-Range") != "" {
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
	want := fmt.Sprintf("bytes %d-%d/%d", b.start, b.end, g.size)
	if got := body.resp.Header.Get("Content-Range"); got != want {
		return badUpstream(codeSizeInvalid, "blob "+g.digest.String()+": the upstream registry sent another range than was asked for", nil)
	}
	if n := body.resp.ContentLength; n >= 0 && n != b.length() {
		return wrongSize("range of blob "+g.digest.String(), n, b.length())
	}
	w.Header().Set("Content-Range", want)
	out := &blobWriter{w: w, control: http.NewResponseController(w), status: http.StatusPartialContent, length: b.length()}
	n, err := io.Copy(out, io.LimitReader(body, b.length()))
	if err == nil && n == b.length() {
		return nil
	}
	p.logger.WarnContext(r.Context(), "blob range cut off", "repository", p.registry+"/"+repository, "digest", g.digest.String(), "client", clientAddress(r))
	panic(http.ErrAbortHandler)
}

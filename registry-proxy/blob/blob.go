// Package blob passes blobs on and lets their end go only when the digest of the whole is confirmed.
//
// A blob comes from somewhere that is not trusted, a registry or a disk, and may be too large to be held. So it is hashed
// while it streams, and its last [Tail] bytes (all of a small blob) are held back until length and digest are known to be
// right. Of a wrong blob, a part may leave; a complete one never does, and no client takes a part for the whole, because
// Content-Length says how much is to come.
package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Tail is how much of a blob's end is held back, in bytes; it is also the size of one read and write.
const Tail = 64 << 10

// ErrWrong is wrapped by the errors about a blob that is not what its manifest says.
var ErrWrong = errors.New("wrong blob")

var buffers = sync.Pool{New: func() any { return new([Tail]byte) }}

// Head is how many bytes of a blob of this size may leave before it is confirmed.
func Head(size int64) int64 { return size - min(size, Tail) }

// Copy copies size bytes with the given SHA-256 digest from untrusted to w. Errors that wrap [ErrWrong] say that it is
// another blob; all others are those of reading or writing.
func Copy(w io.Writer, untrusted io.Reader, digest v1.Hash, size int64) error {
	return Continue(w, untrusted, digest, size, sha256.New(), 0)
}

// Continue is Copy for a blob of which done bytes, not more than [Head], have left already. sum is the SHA-256 of these,
// and untrusted begins behind them.
func Continue(w io.Writer, untrusted io.Reader, digest v1.Hash, size int64, sum hash.Hash, done int64) error {
	buf := buffers.Get().(*[Tail]byte)
	defer buffers.Put(buf)
	head := Head(size) - done
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.TeeReader(io.LimitReader(untrusted, head), sum), buf[:])
	if err != nil {
		return err
	}
	tail := buf[:size-Head(size)]
	if n == head {
		var last int
		last, err = io.ReadFull(untrusted, tail)
		n += int64(last)
	}
	switch {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return err
	case done+n != size:
		return fmt.Errorf("%w: %s ends after %d of %d bytes", ErrWrong, digest, done+n, size)
	}
	if err := Ends(untrusted, digest, size); err != nil {
		return err
	}
	sum.Write(tail)
	if err := Check(sum, digest); err != nil {
		return err
	}
	_, err = w.Write(tail)
	return err
}

// Ends makes sure that nothing follows the size bytes that were read.
func Ends(untrusted io.Reader, digest v1.Hash, size int64) error {
	var more [1]byte
	if n, _ := io.ReadFull(untrusted, more[:]); n > 0 {
		return fmt.Errorf("%w: %s is longer than its %d bytes", ErrWrong, digest, size)
	}
	return nil
}

// Check compares the sum of all bytes with the digest.
func Check(sum hash.Hash, digest v1.Hash) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest.Hex {
		return fmt.Errorf("%w: %s has digest sha256:%s", ErrWrong, digest, got)
	}
	return nil
}

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

// Tail is how much of a blob's end is held back, in bytes.
const Tail = 64 << 10

// Step is how much is read, hashed and written at a time, in bytes. With 64 KiB, system calls and what they wake cost a quarter more CPU;
// with 1 MiB they cost a little less still, but 64 streams would hold 64 MiB, and a client has to take this much within one deadline.
const Step = 512 << 10

// ErrWrong is wrapped by the errors about a blob that is not what its manifest says.
var ErrWrong = errors.New("wrong blob")

var buffers = sync.Pool{New: func() any { return new([Step]byte) }}

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
	buf := buffers.Get().(*[Step]byte)
	defer buffers.Put(buf)
	head := Head(size) - done
	n, err := copySteps(w, io.TeeReader(untrusted, sum), head, buf)
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

// Part copies size bytes of a blob's midst, which cannot be confirmed by themselves. It returns how many there were.
func Part(w io.Writer, untrusted io.Reader, size int64) (int64, error) {
	buf := buffers.Get().(*[Step]byte)
	defer buffers.Put(buf)
	return copySteps(w, untrusted, size, buf)
}

// copySteps copies by Write alone, between whose calls a writer can extend its deadline.
func copySteps(w io.Writer, r io.Reader, size int64, buf *[Step]byte) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, size), buf[:])
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

package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestPX10_OnlyRightBlobsEnd(t *testing.T) {
	for _, size := range []int{0, 1, Tail - 1, Tail, Tail + 1, 3*Tail + 7, Step, Step + Tail, 2*Step + Tail + 1} {
		good := bytes.Repeat([]byte("x"), size)
		sum := sha256.Sum256(good)
		digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
		for name, c := range map[string]struct {
			in    []byte
			after error // of the reader
			want  error
		}{
			"right":      {good, io.EOF, nil},
			"longer":     {append(bytes.Clone(good), 'x'), io.EOF, ErrWrong},
			"breaks off": {good[:size/2], io.ErrClosedPipe, io.ErrClosedPipe},
			"flipped":    {append(bytes.Clone(good[:max(0, size-1)]), 'y'), io.EOF, ErrWrong},
		} {
			in := io.Reader(bytes.NewReader(c.in))
			if c.after != io.EOF {
				in = io.MultiReader(in, iotest.ErrReader(c.after))
				if size == 0 {
					continue // nothing is missing
				}
			}
			var out bytes.Buffer
			err := Copy(&out, in, digest, int64(size))
			if !errors.Is(err, c.want) || c.want == nil && !bytes.Equal(out.Bytes(), good) {
				t.Errorf("%d bytes, %s: %v, %d bytes out", size, name, err, out.Len())
			}
			if c.want != nil && int64(out.Len()) > Head(int64(size)) {
				t.Errorf("%d bytes, %s: %d of a wrong blob left", size, name, out.Len())
			}
		}
		// The second half, after the first has left by another way.
		half := Head(int64(size)) / 2
		h := sha256.New()
		h.Write(good[:half])
		var out bytes.Buffer
		if err := Continue(&out, bytes.NewReader(good[half:]), digest, int64(size), h, half); err != nil || !bytes.Equal(out.Bytes(), good[half:]) {
			t.Errorf("%d bytes, continued: %v", size, err)
		}
	}
}

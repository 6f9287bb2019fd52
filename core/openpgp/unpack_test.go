package openpgp_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/openpgp"
	"github.com/touchmark/touchmark/core/verify"
)

// packetOf writes a packet of OpenPGP's new format (RFC 9580, 4.2.1).
func packetOf(tag byte, body []byte) []byte {
	out := []byte{0xC0 | tag, 0xFF, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(out[2:], uint32(len(body)))
	return append(out, body...)
}

// compressed is a packet of compressed packets.
func compressed(t *testing.T, packets []byte) []byte {
	t.Helper()
	out := bytes.NewBuffer([]byte{1}) // ZIP
	w, err := flate.NewWriter(out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(packets); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packetOf(8, out.Bytes())
}

// TestA067_OpenPGPBombs reads messages of a few bytes on which a reader that
// unpacks whatever it meets spends hours, or all memory.
func TestA067_OpenPGPBombs(t *testing.T) {
	key := newKey(t)
	good := sign(t, key, payload("atomic container signature", repository+":latest", digest), at(start)).Payload.Text
	layers := bytes.Repeat(packetOf(10, []byte("PGP")), 100)
	for range 8 {
		layers = bytes.Repeat(compressed(t, layers), 60)
	}
	tests := []struct {
		name    string
		message []byte
		admit   bool
	}{
		{"not compressed", good, true},
		{"compressed, as GnuPG does", compressed(t, good), true},
		{"compressed twice", compressed(t, compressed(t, good)), false},
		{"sixty to the eighth layers", compressed(t, layers), false},
		{"signatures without end", compressed(t, bytes.Repeat(good[len(good)-300:], 100_000)), false},
		{"30,000 messages, one after the other", compressed(t, bytes.Repeat(good, 30_000)), false},
		{"a hundred megabytes of zeros", compressed(t, make([]byte, 100<<20)), false},
		{"many packets", bytes.Repeat(good, 10), false},
		{"a key among them", append(bytes.Clone(keyring(t, key)), good...), false},
		{"nothing", nil, false},
	}
	ring := keyring(t, key)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			_, err := openpgp.Verify(evidence(tt.message), repository, digest, ring, "vendor", start, time.Time{})
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if refused := (*verify.Error)(nil); tt.admit != (err == nil) || err != nil && (!errors.As(err, &refused) || refused.Code != verify.CodeMalformed) {
				t.Errorf("error %v, admits %t", err, tt.admit)
			}
			if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 64 || took > 5*time.Second {
				t.Errorf("a message of %d bytes took %s and %d MiB", len(tt.message), took, mib)
			}
		})
	}
}

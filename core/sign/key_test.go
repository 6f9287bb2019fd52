package sign_test

import (
	"crypto"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/verify"
)

// device is a key in a device that takes one question at a time.
type device struct {
	crypto.Signer
	busy sync.Mutex
}

func (d *device) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if !d.busy.TryLock() {
		return nil, errors.New("device is busy")
	}
	defer d.busy.Unlock()
	return d.Signer.Sign(random, digest, opts)
}

func TestKeyIsAskedOneAtATime(t *testing.T) {
	w := newWorld(t)
	ref, digests := pushIndex(t, true)
	key := &device{Signer: generate(t, keys.RSA3072)} // slow, so that signatures would overlap
	if _, err := sign.Image(t.Context(), sign.Config{Signing: w.signing, Root: w.root, Key: key}, ref, source(ref), sign.Options{}); err != nil {
		t.Fatal(err)
	}
	checkSigned(t, ref, digests[2], w.root, verify.Keyed(verify.Key{Public: key.Public()}), 2)
}

// Without a log no service is asked, and the signature is good for those alone who accept that.
func TestNoLog(t *testing.T) {
	w := newWorld(t)
	key := coretest.NewKey(t)
	var steps []sign.Phase
	ref, _ := pushIndex(t, true)
	opts := sign.Options{Progress: func(phase sign.Phase, done, total int) {
		if done < 1 || done > total || total != 3 {
			t.Errorf("progress %d of %d", done, total)
		}
		steps = append(steps, phase)
	}}
	result, err := sign.Image(t.Context(), sign.Config{NoLog: true, Key: key, Root: w.root}, ref, source(ref), opts)
	if err != nil {
		t.Fatal(err)
	}
	if s := result.Signatures[0]; s.Bundle.Log != "" || s.Legacy == nil || len(s.JSON) == 0 || result.NoLegacy != "" {
		t.Errorf("log %q, legacy %v, %d bytes, %q", s.Bundle.Log, s.Legacy, len(s.JSON), result.NoLegacy)
	}
	if len(steps) != 6 || steps[0] != sign.Signing || steps[5] != sign.Writing {
		t.Errorf("progress %v", steps)
	}
	signed, err := sign.Blob(t.Context(), sign.Config{NoLog: true, Key: key}, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, signed, "content", "", verify.Keyed(verify.Key{Public: key.Public()}), verify.CodeUntrustedLog)
	if _, err := sign.Image(t.Context(), sign.Config{NoLog: true, Signing: w.signing, Token: w.asAlice().Token}, ref, source(ref), sign.Options{}); !errors.Is(err, sign.ErrInput) {
		t.Errorf("a certificate in no log: error %v", err)
	}
}

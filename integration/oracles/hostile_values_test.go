package oracles

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// inflated calls visit with copies of a JSON text of which one string each has the given text in its place.
func inflated(t *testing.T, text []byte, with string, visit func(path string, text []byte)) {
	t.Helper()
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v any, put func(any))
	walk = func(path string, v any, put func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				walk(path+"/"+name, member, func(with any) { v[name] = with })
			}
		case []any:
			for i, element := range v {
				walk(fmt.Sprintf("%s/%d", path, i), element, func(with any) { v[i] = with })
			}
		case string:
			put(with)
			changed, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			put(v)
			visit(path, changed)
		}
	}
	walk("", document, nil)
}

// Each text in a bundle, a trusted root and a signing config grows to most of a megabyte, which is good base64, too. Neither reading it nor the verdict on it repeats it.
func TestLIB34_EachValueInTurnIsHuge(t *testing.T) {
	s := coretest.New(t)
	huge := strings.Repeat("a", 1000<<10)
	measured := func(what string, size int, work func() error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := work()
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(2*size+1<<20); got > limit {
			t.Errorf("%s: %d bytes allocated for %d, want at most %d (%v)", what, got, size, limit, short(err))
		}
		if err != nil && len(err.Error()) > 4<<10 {
			t.Errorf("%s: the error has %d bytes: %s", what, len(err.Error()), short(err))
		}
	}
	alice := coretest.Email("alice@acme.example")
	matcher, err := identity.NewMatcher(identity.Spec{Issuer: alice.Issuer, Subject: alice.SAN.Value})
	if err != nil {
		t.Fatal(err)
	}
	expected, root := verify.Keyless(matcher), s.TrustedRoot(t)
	read, refused := 0, 0
	for name, opts := range map[string]coretest.SignOptions{
		"DSSE, Rekor v1":    {},
		"DSSE, Rekor v2":    {Log: s.V2},
		"message, Rekor v1": {Content: coretest.MessageSignature},
		"message, Rekor v2": {Content: coretest.MessageSignature, Log: s.V2},
	} {
		opts.Identity = alice
		text, err := bundle.Marshal(s.SignDigest(t, [32]byte{1}, opts))
		if err != nil {
			t.Fatal(err)
		}
		inflated(t, text, huge, func(path string, changed []byte) {
			what := name + ", " + path
			var evidence *bundle.Evidence
			measured("reading "+what, len(changed), func() (err error) { evidence, err = bundle.Parse(changed); return err })
			if evidence == nil {
				return
			}
			read++
			measured("verifying "+what, len(changed), func() error {
				_, err := verify.Verify(verify.Input{Evidence: evidence, Artifact: verify.SHA256([32]byte{1}), Signer: expected, Root: root})
				if err != nil {
					refused++
				}
				return err
			})
		})
		evidence, err := bundle.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if evidence.Envelope != nil {
			inflated(t, evidence.Envelope.Payload, huge, func(path string, changed []byte) {
				copied := *evidence
				copied.Envelope = &bundle.Envelope{PayloadType: evidence.Envelope.PayloadType, Payload: changed, Signature: evidence.Envelope.Signature}
				measured("verifying "+name+", statement, "+path, len(changed), func() error {
					_, err := verify.Verify(verify.Input{Evidence: &copied, Artifact: verify.SHA256([32]byte{1}), Signer: expected, Root: root})
					if err == nil {
						t.Errorf("%s, statement, %s: accepted", name, path)
					}
					return err
				})
			})
		}
	}
	inflated(t, s.TrustedRootJSON(t), huge, func(path string, changed []byte) {
		measured("reading a trusted root, "+path, len(changed), func() error { _, err := trust.Parse("root", changed); return err })
	})
	if read < 20 || refused < 10 {
		t.Errorf("%d changed bundles could be read, %d were refused then: the test shows little", read, refused)
	}
}

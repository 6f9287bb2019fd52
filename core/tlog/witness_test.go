package tlog_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog"
)

// TestWitnessKeys reads what signed-note says of vkeys, and refuses what differs in one
// thing.
func TestWitnessKeys(t *testing.T) {
	w := coretest.NewWitness(t, "witness.example/w1").Witness()
	vkey := w.String()
	parsed, err := tlog.ParseWitness(vkey)
	if err != nil || parsed.Name != w.Name || !parsed.Key.Equal(w.Key) {
		t.Fatalf("%v %v", parsed, err)
	}
	parts := strings.Split(vkey, "+") // the base64 may hold a + of its own
	name, hint, key := parts[0], parts[1], strings.Join(parts[2:], "+")
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	other := coretest.NewWitness(t, "witness.example/w2").Witness().String()
	for what, bad := range map[string]string{
		"empty": "", "a name alone": name, "no key": name + "+" + hint, "no name": "+" + hint + "+" + key,
		"space in the name":        "witness example+" + hint + "+" + key,
		"wide space in the name":   "witness\u2003example+" + hint + "+" + key,
		"another name's hint":      "witness.example/w3+" + hint + "+" + key,
		"another key's hint":       name + "+" + strings.Split(other, "+")[1] + "+" + key,
		"hint in capitals":         name + "+ABCDEF01+" + key,
		"hint too short":           name + "+" + hint[:6] + "+" + key,
		"a log's algorithm":        name + "+" + hint + "+" + encode(append([]byte{1}, raw[1:]...)),
		"ML-DSA's algorithm":       name + "+" + hint + "+" + encode(append([]byte{6}, raw[1:]...)),
		"a short key":              name + "+" + hint + "+" + encode(raw[:32]),
		"a long key":               name + "+" + hint + "+" + encode(append(raw, 0)),
		"base64 with padding":      name + "+" + hint + "+" + key + "=",
		"base64 with a line break": name + "+" + hint + "+" + key[:8] + "\n" + key[8:],
		"trailing data":            vkey + "+x",
	} {
		if w, err := tlog.ParseWitness(bad); err == nil {
			t.Errorf("%s: accepted %q as %v", what, bad, w)
		}
	}
}

// TestLIB17_Cosignatures holds one checkpoint against each MUST of
// tlog-cosignature, and of signed-note where it is about known keys.
func TestLIB17_Cosignatures(t *testing.T) {
	log := coretest.NewLogV2(t)
	verifier, err := tlog.NewVerifier(log.Name, log.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0)
	plain := log.Checkpoint(t, tlog.Checkpoint{Origin: log.Origin, Size: 5, Root: [32]byte{1}})
	otherPlain := log.Checkpoint(t, tlog.Checkpoint{Origin: log.Origin, Size: 6, Root: [32]byte{1}})
	text, logLine, _ := strings.Cut(plain, "\n\n")
	w := coretest.NewWitness(t, "witness.example")
	twin := coretest.NewWitness(t, "witness.example") // the same name, another key
	cosigned := w.Cosign(t, plain, at)
	line := strings.TrimPrefix(cosigned, plain)
	change := func(f func(sig []byte) []byte) string {
		fields := strings.Fields(line)
		sig, err := base64.StdEncoding.DecodeString(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		return plain + "— witness.example " + base64.StdEncoding.EncodeToString(f(sig)) + "\n"
	}
	signed := func(message string) string { // what the witness signs instead
		return change(func(sig []byte) []byte { return append(sig[:12:12], ed25519.Sign(w.Key, []byte(message))...) })
	}
	body := text + "\n"
	for _, tt := range []struct {
		name, note string
		want       int // cosigners; -1 is an error
	}{
		{"cosigned", cosigned, 1},
		{"not cosigned", plain, 0},
		{"cosignature first", text + "\n\n" + line + logLine, 1},
		{"by a key of the same name", twin.Cosign(t, plain, at), 0},
		{"twice", w.Cosign(t, cosigned, at.Add(time.Second)), 1},
		{"16 unknown ones", plain + strings.Repeat("— unknown.example AAAAAAAAAAAAAAAA\n", 16) + line, 1},
		{"at the first second", w.Cosign(t, plain, time.Unix(0, 0)), 1},
		{"at the last second", w.Cosign(t, plain, time.Unix(math.MaxInt64, 0)), 1},
		{"beyond the last second", w.Cosign(t, plain, time.Unix(math.MinInt64, 0)), -1},
		{"of another checkpoint", plain + strings.TrimPrefix(w.Cosign(t, otherPlain, at), otherPlain), -1},
		{"without the log's signature", text + "\n\n" + line, -1},
		{"another time in front", change(func(sig []byte) []byte { sig[11] ^= 1; return sig }), -1},
		{"a bit of the signature", change(func(sig []byte) []byte { sig[40] ^= 1; return sig }), -1},
		{"a byte less", change(func(sig []byte) []byte { return sig[:len(sig)-1] }), -1},
		{"a byte more", change(func(sig []byte) []byte { return append(sig, 0) }), -1},
		{"no time", change(func(sig []byte) []byte { return append(sig[:4:4], sig[12:]...) }), -1},
		{"signed rightly by hand", signed("cosignature/v1\ntime 1700000000\n" + body), 1},
		{"signed without a header", signed("time 1700000000\n" + body), -1},
		{"signed with another header", signed("cosignature/v2\ntime 1700000000\n" + body), -1},
		{"signed with a zero in front", signed("cosignature/v1\ntime 01700000000\n" + body), -1},
		{"signed without the last line break", signed("cosignature/v1\ntime 1700000000\n" + text), -1},
		{"signed as a plain note", signed(body), -1},
	} {
		cp, got, err := verifier.OpenCosigned(tt.note, []*tlog.Witness{w.Witness()})
		switch {
		case tt.want < 0 && err == nil:
			t.Errorf("%s: accepted, with %d cosigners", tt.name, len(got))
		case tt.want >= 0 && (err != nil || len(got) != tt.want || cp.Size != 5):
			t.Errorf("%s: %d cosigners of %+v, %v; want %d", tt.name, len(got), cp, err, tt.want)
		}
	}
	if _, _, err := verifier.OpenCosigned(text+"\n\n"+line, []*tlog.Witness{w.Witness()}); !errors.Is(err, tlog.ErrNotSigned) {
		t.Errorf("witnessed only: %v", err)
	}
	// Nobody asks for the witness: its line is one of an unknown key.
	if _, err := verifier.Open(change(func(sig []byte) []byte { sig[40] ^= 1; return sig })); err != nil {
		t.Error(err)
	}
}

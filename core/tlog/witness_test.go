package tlog_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
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
		"hint and more":            name + "+" + hint + "zz+" + key,
		"hint and half a byte":     name + "+" + hint + "a+" + key,
	} {
		if w, err := tlog.ParseWitness(bad); err == nil {
			t.Errorf("%s: accepted %q as %v", what, bad, w)
		}
	}
	// Here the hint is right, and the name is not one, or the reverse.
	for _, name := range []string{"", "witness example", "witness\u2003example", "witness\x00", "witness\x1b", "witness\xff", "wit+ness"} {
		bad := tlog.Witness{Name: name, Key: w.Key}
		if w, err := tlog.ParseWitness(bad.String()); err == nil {
			t.Errorf("the name %q is accepted as %v", name, w)
		}
	}
	for i := range 100 {
		good := tlog.Witness{Name: fmt.Sprint("witness.example/", i), Key: w.Key}
		parts := strings.SplitN(good.String(), "+", 3)
		if _, err := tlog.ParseWitness(good.String()); err != nil {
			t.Error(err)
		}
		if upper := strings.ToUpper(parts[1]); upper != parts[1] {
			if _, err := tlog.ParseWitness(parts[0] + "+" + upper + "+" + parts[2]); err == nil {
				t.Errorf("the hint %s is accepted", upper)
			}
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
		{"three bytes", change(func(sig []byte) []byte { return sig[:4+3] }), -1},
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
	if _, err := verifier.Open(plain[:len(plain)-9] + "AAAAAAA=\n"); !errors.Is(err, tlog.ErrNotSigned) {
		t.Errorf("the log's signature with other bytes: %v", err)
	}
	// Which signature is bad: a witness's is not the log's, even under its name.
	sameName := coretest.NewWitness(t, log.Name)
	bad := strings.TrimPrefix(sameName.Cosign(t, otherPlain, at), otherPlain)
	for name, tt := range map[string]struct {
		note    string
		witness *tlog.Witness
	}{
		"a witness": {change(func(sig []byte) []byte { sig[40] ^= 1; return sig }), w.Witness()}, "a witness of the log's name": {plain + bad, sameName.Witness()},
	} {
		_, _, err := verifier.OpenCosigned(tt.note, []*tlog.Witness{tt.witness})
		if err == nil || errors.Is(err, tlog.ErrNotSigned) || !strings.Contains(err.Error(), "cosignature of the witness "+tt.witness.Name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := verifier.OpenCosigned(text+"\n\n"+strings.TrimPrefix(sameName.Cosign(t, plain, at), plain), []*tlog.Witness{sameName.Witness()}); !errors.Is(err, tlog.ErrNotSigned) {
		t.Errorf("signed by a witness of the log's name only: %v", err)
	}
	// Several witnesses are asked for, and one cosigned.
	if _, got, err := verifier.OpenCosigned(cosigned, []*tlog.Witness{twin.Witness(), w.Witness()}); err != nil || len(got) != 1 || !got[0].Key.Equal(w.Witness().Key) {
		t.Errorf("one of two of the same name: %v, %v", got, err)
	}
	// A key of the wrong length verifies nothing, and does not panic.
	short := &tlog.Witness{Name: "short.example", Key: w.Witness().Key[:31]}
	hint, err := hex.DecodeString(strings.Split(short.String(), "+")[1])
	if err != nil {
		t.Fatal(err)
	}
	byShort := "— short.example " + base64.StdEncoding.EncodeToString(append(hint, make([]byte, 72)...)) + "\n"
	if _, _, err := verifier.OpenCosigned(plain+byShort, []*tlog.Witness{short}); err == nil {
		t.Error("a key of 31 bytes cosigned")
	}
	// Nobody asks for the witness: its line is one of an unknown key.
	if _, err := verifier.Open(change(func(sig []byte) []byte { sig[40] ^= 1; return sig })); err != nil {
		t.Error(err)
	}
}

// TestLIB14_LIB17_Spelling sets one of the bits of a signature's last base64 digit that stand for nothing.
func TestLIB14_LIB17_Spelling(t *testing.T) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	log, w := coretest.NewLogV2(t), coretest.NewWitness(t, "witness.example")
	verifier, err := tlog.NewVerifier(log.Name, log.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	plain := log.Checkpoint(t, tlog.Checkpoint{Origin: log.Origin, Size: 5})
	cosigned := w.Cosign(t, plain, time.Unix(1_700_000_000, 0))
	known := []*tlog.Witness{w.Witness()}
	for _, tt := range []struct {
		signer, note string
		witnesses    []*tlog.Witness
		ok           bool
	}{
		{log.Name, plain, known, false}, {w.Name, cosigned, known, false},
		{"a witness that nobody asks for", cosigned, nil, true},
	} {
		if _, _, err := verifier.OpenCosigned(tt.note, tt.witnesses); err != nil {
			t.Errorf("%s: %v", tt.signer, err)
		}
		last := strings.LastIndexAny(tt.note, digits)
		value := strings.IndexByte(digits, tt.note[last])
		misspelled := tt.note[:last] + digits[value+1:value+2] + tt.note[last+1:]
		_, _, err := verifier.OpenCosigned(misspelled, tt.witnesses)
		if (err == nil) != tt.ok || err != nil && err.Error() != "checkpoint: the signature of "+tt.signer+" is not canonical base64" {
			t.Errorf("%s: misspelled: %v, want accepted %v", tt.signer, err, tt.ok)
		}
	}
}

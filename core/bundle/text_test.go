package bundle_test

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
)

// TestA069_Counts: at each limit evidence is read, and quickly; above it, not.
func TestA069_Counts(t *testing.T) {
	good := marshal(t, shapes(t)["DSSE, Rekor v1"])
	for _, tt := range []struct {
		name string
		n    int
		fill func(o object, n int)
	}{
		{"log entries", bundle.MaxEntries, func(o object, n int) {
			first := o.at(inEntry...)
			var list []any
			for i := range n {
				e := maps.Clone(first)
				e["logIndex"] = fmt.Sprint(i)
				list = append(list, e)
			}
			o.at(inMaterial...)["tlogEntries"] = list
		}},
		{"timestamps", bundle.MaxTimestamps, func(o object, n int) {
			ts := o.at(inTimestamp...)
			ts["rfc3161Timestamps"] = repeat(ts["rfc3161Timestamps"].([]any)[0], n)
		}},
	} {
		for _, n := range []int{1, tt.n, tt.n + 1, 10 * tt.n} {
			o := decode(t, good)
			tt.fill(o, n)
			raw := o.json(t)
			start := time.Now()
			if _, err := bundle.Parse(raw); (err == nil) != (n <= tt.n) {
				t.Errorf("%d %s: error is %v", n, tt.name, err)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("%d %s take %v", n, tt.name, d)
			}
		}
	}
}

// TestLIB04_Base64: bytes are written in one way, wherever they stand. (Other
// clients also read the URL alphabet and missing padding; none writes them.)
func TestLIB04_Base64(t *testing.T) {
	good := marshal(t, shapes(t)["DSSE, Rekor v1"])
	message := marshal(t, shapes(t)["message signature, Rekor v1"])
	fields := 0
	for _, text := range [][]byte{good, message} {
		for _, m := range regexp.MustCompile(`"([A-Za-z0-9]+)":\[?"([A-Za-z0-9+/=]{8,})"`).FindAllSubmatchIndex(text, -1) {
			name, at := string(text[m[2]:m[3]]), m[5]-1
			if slices.Contains([]string{"logIndex", "integratedTime", "treeSize", "kind"}, name) {
				continue
			}
			fields++
			for what, change := range map[string]func([]byte) []byte{
				"line break": func(b []byte) []byte { return slices.Insert(b, m[4], '\\', 'n') },
				"no padding": func(b []byte) []byte { return slices.Delete(b, at, at+1) },
				"padded":     func(b []byte) []byte { return slices.Insert(b, at+1, '=') },
				"URL":        func(b []byte) []byte { b[m[4]] = '_'; return b },
			} {
				if _, err := bundle.Parse(change(slices.Clone(text))); err == nil || !strings.Contains(err.Error(), "base64") || !strings.Contains(err.Error(), name) {
					t.Errorf("%s, %s: error is %v", name, what, err)
				}
			}
		}
	}
	if fields < 15 {
		t.Errorf("only %d fields of bytes were found", fields)
	}
	want := []byte{0xfb, 0xff, 0xfe, 0xfd}
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"standard", "+//+/Q==", true}, {"URL alphabet", "-__-_Q==", false}, {"no padding", "+//+/Q", false}, {"unused bits", "+//+/R==", false},
		{"space", "+//+ /Q==", false}, {"bad character", "+*/+/Q==", false}, {"one digit more", "+//+/Q==A", false}, {"padding in the middle", "+/==//Q=", false},
		{"both alphabets", "+/_-/Q==", false},
	} {
		o := decode(t, good)
		o.at("dsseEnvelope", "signatures", 0)["sig"] = tt.text
		e, err := bundle.Parse(o.json(t))
		if (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		if err == nil && !bytes.Equal(e.Signature(), want) {
			t.Errorf("%s: read as %x", tt.name, e.Signature())
		}
	}
}

// TestLIB34_A060_Text is about the JSON text as such. Each refusal must come
// within the time that the row allows.
func TestLIB34_A060_Text(t *testing.T) {
	good := marshal(t, shapes(t)["DSSE, Rekor v1"])
	inside := func(s string) []byte { return append([]byte("{"+s+","), good[1:]...) }
	for _, tt := range []struct {
		name string
		text []byte
		ok   bool
	}{
		{"good", good, true},
		{"one line break at the end", append(slices.Clone(good), '\n'), true},
		{"white space around", slices.Concat([]byte(" \t\r\n"), good, []byte(" ")), true},
		{"up to the limit with white space", append(slices.Clone(good), bytes.Repeat([]byte{' '}, bundle.MaxSize-len(good))...), true},
		{"above the limit", append(slices.Clone(good), bytes.Repeat([]byte{' '}, bundle.MaxSize-len(good)+1)...), false},
		{"256 MiB", make([]byte, 256<<20), false},
		{"nothing", nil, false},
		{"null", []byte("null"), false},
		{"array", []byte("[]"), false},
		{"empty object", []byte("{}"), false},
		{"text", []byte(`"x"`), false},
		{"byte order mark", append([]byte("\xef\xbb\xbf"), good...), false},
		{"UTF-16", []byte("{\x00}\x00"), false},
		{"trailing object", append(slices.Clone(good), "{}"...), false},
		{"trailing text", append(slices.Clone(good), "x"...), false},
		{"trailing NUL", append(slices.Clone(good), 0), false},
		{"truncated", good[:len(good)-1], false},
		{"comment", append([]byte("/**/"), good...), false},
		{"trailing comma", append(slices.Clone(good[:len(good)-1]), ",}"...), false},
		{"duplicate field", inside(`"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"`), false},
		{"duplicate field in its other spelling", inside(`"media_type":"application/vnd.dev.sigstore.bundle.v0.3+json"`), false},
		{"duplicate message", inside(`"verificationMaterial":{}`), false},
		{"duplicate content", inside(`"dsseEnvelope":{}`), false},
		{"invalid UTF-8", bytes.Replace(good, []byte("rekor.touchmark.example -"), []byte("rekor.touchmark.example\xff-"), 1), false},
		{"invalid UTF-8 in an unknown field", inside("\"x\":\"\xff\""), false},
		{"depth of 100,000 arrays", inside(`"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), false},
		{"depth of 100,000 objects", inside(`"x":` + strings.Repeat(`{"x":`, 100_000) + "1" + strings.Repeat("}", 100_000)), false},
		{"depth of 100,000, open", []byte(strings.Repeat("[", 100_000)), false},
		{"a million commas", []byte("[" + strings.Repeat(",", 1_000_000) + "]"), false},
		{"a huge number", inside(`"x":` + strings.Repeat("9", 900_000)), false},
	} {
		if tt.name == "invalid UTF-8" && bytes.Equal(tt.text, good) {
			t.Fatal("the bundle was not changed")
		}
		start := time.Now()
		_, err := bundle.Parse(tt.text)
		if (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		// The row's bound for each megabyte; a busy machine gets five times as much.
		if d := time.Since(start); d > time.Duration(1+len(tt.text)>>20)*500*time.Millisecond {
			t.Errorf("%s: takes %v", tt.name, d)
		}
		if err != nil && len(err.Error()) > 1024 {
			t.Errorf("%s: the error has %d bytes", tt.name, len(err.Error()))
		}
	}
}

// TestPAE holds DSSE's own example.
func TestPAE(t *testing.T) {
	if got, want := string(bundle.PAE("http://example.com/HelloWorld", []byte("hello world"))), "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("PAE is %q, want %q", got, want)
	}
	// Games with the lengths: no two different inputs have one encoding.
	a, b := bundle.PAE("t", []byte("1 x")), bundle.PAE("t 3 1 x", nil)
	if bytes.Equal(a, b) {
		t.Error("two inputs have one encoding")
	}
	if got := bundle.PAE("é", nil); string(got) != "DSSEv1 2 é 0 " {
		t.Errorf("lengths are not in bytes: %q", got)
	}
}

package trust_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
)

// TestLIB34_LIB04_Text is about a trusted root's JSON as such: what is wrong is refused at
// once, with the place.
func TestLIB04_LIB34_Text(t *testing.T) {
	good := coretest.New(t).TrustedRootJSON(t)
	swap := func(old, new string) []byte {
		text := bytes.Replace(good, []byte(old), []byte(new), 1)
		if bytes.Equal(text, good) {
			t.Fatalf("%q is not in the root", old)
		}
		return text
	}
	raw := bytes.SplitN(bytes.SplitN(good, []byte(`"rawBytes": "`), 2)[1], []byte(`"`), 2)[0]
	for _, tt := range []struct {
		name string
		text []byte
		want string // in the error; empty if it is accepted
	}{
		{"good", good, ""},
		{"white space around", slices.Concat([]byte(" \n"), good, []byte("\r\n")), ""},
		{"byte order mark", append([]byte("\xef\xbb\xbf"), good...), "malformed"},
		{"trailing data", append(slices.Clone(good), "{}"...), "trailing"},
		{"duplicate list", swap(`"tlogs":`, `"tlogs": [], "tlogs":`), `"tlogs"`},
		{"duplicate field below", swap(`"baseUrl":`, `"baseUrl": "x", "baseUrl":`), "/tlogs/0"},
		{"invalid UTF-8", swap("https://rekor", "\xffttps://rekor"), "/tlogs/0/baseUrl"},
		{"a key in the URL alphabet", swap(string(raw), "-"+string(raw[1:])), "/tlogs/0/publicKey/rawBytes"},
		{"a key with a line break", swap(string(raw), string(raw[:64])+`\n`+string(raw[64:])), "base64"},
		{"ten megabytes of brackets", bytes.Repeat([]byte("["), 10<<20), "the limit is"},
		{"a megabyte of brackets", bytes.Repeat([]byte("["), trust.MaxSize), "malformed"},
		{"the root.json beside it", []byte(`{"signatures":[],"signed":{"_type":"root","version":1}}`), "root.json; the file trusted_root.json"},
		{"very many logs", []byte(`{"tlogs":[{}` + strings.Repeat(",{}", (trust.MaxSize-100)/3) + "]}"), "/tlogs/"},
	} {
		start := time.Now()
		_, err := trust.Parse("test", tt.text)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error is %v, want one that names %q", tt.name, err, tt.want)
		}
		if d := time.Since(start); d > 500*time.Millisecond {
			t.Errorf("%s: takes %v", tt.name, d)
		}
	}
}

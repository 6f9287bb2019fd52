package jsonguard_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/jsonguard"
)

func binary(name []byte) bool { return string(name) == "b" || string(name) == "bs" }

// TestLIB34_Text: what is wrong is refused, and the error says where.
func TestLIB34_Text(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"good", `{"a":[1,"x",{"c":null}],"b":"AA=="}`, ""},
		{"white space around", " \t\r\n{}\n", ""},
		{"a bare string", `"x"`, ""},
		{"nothing", "", "malformed"},
		{"white space", " ", "malformed"},
		{"byte order mark", "\xef\xbb\xbf{}", "malformed"},
		{"UTF-16", "{\x00}\x00", "malformed"},
		{"invalid UTF-8", "{\"a\":{\"c\":\"\xff\"}}", "/a"},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", "malformed"},
		{"null in a list", `{"a":[1,null]}`, `"/a/1" is a null`},
		{"null in a list in a list", `[[null]]`, `"/0/0" is a null`},
		{"a lone surrogate", `{"a":"\ud800"}`, "malformed"},
		{"duplicate name", `{"a":{"c":1,"c":2}}`, `duplicate name "c", at "/a/c"`},
		{"duplicate name, escaped", `{"a":1,"\u0061":2}`, `"a"`},
		{"duplicate name in another object", `{"a":{"a":1},"b":{"a":2}}`, ""},
		{"duplicate name behind an object", `{"a":{"b":1},"c":{"d":2},"a":1}`, `duplicate name "a", at "/a"`},
		{"at the limit of depth", strings.Repeat("[", 40) + strings.Repeat("]", 40), ""},
		{"trailing object", "{}{}", "trailing"},
		{"trailing text", "{}x", "trailing"},
		{"trailing NUL", "{}\x00", "trailing"},
		{"truncated", `{"a":1`, "malformed"},
		{"trailing comma", `{"a":1,}`, "malformed"},
		{"comment", "/**/{}", "malformed"},
		{"at the limit of tokens", "[" + strings.TrimSuffix(strings.Repeat("1,", 96), ",") + "]", ""},
		{"above it", "[" + strings.TrimSuffix(strings.Repeat("1,", 200), ",") + "]", `more than 100 JSON tokens, at "/98"`},
		{"a long name above it", `{"` + strings.Repeat("x", 200) + `":[` + strings.TrimSuffix(strings.Repeat("1,", 200), ",") + "]}", "..."},
		{"a name at the limit", `{"` + strings.Repeat("x", 254) + `":1}`, ""},
		{"a name above it", `{"` + strings.Repeat("x", 255) + `":1}`, "a name of 257 bytes"},
		{"a place at its limit", `{"` + strings.Repeat("x", 125) + `":[null]}`, `x/0" is a null`},
		{"a place above it", `{"` + strings.Repeat("x", 126) + `":[null]}`, `x/"... is a null`},
		{"a duplicate at the limit", `{"` + strings.Repeat("x", 254) + `":1,"` + strings.Repeat("x", 254) + `":1}`, "duplicate"},
	} {
		err := jsonguard.Check([]byte(tt.text), 100, binary)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error is %v, want one that names %q", tt.name, err, tt.want)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", tt.name, len(err.Error()))
		}
	}
}

// TestLIB04_Base64: there is one way to write bytes.
func TestLIB04_Base64(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"standard", `"+//+/Q=="`, true}, {"empty", `""`, true}, {"one pad", `"AAA="`, true}, {"escaped slash", `"+\/\/+\/Q=="`, true}, {"escaped pad", `"AAA\u003d"`, true},
		{"only escapes", `"\/\/\/\/"`, true}, {"no pad, all bits", `"AAA/"`, true},
		{"null", `null`, true}, {"in an array", `["AA==","+//+"]`, true},
		{"URL alphabet", `"-__-_Q=="`, false}, {"both alphabets", `"+/_-/Q=="`, false}, {"no padding", `"+//+/Q"`, false}, {"too much padding", `"AAA=="`, false},
		{"only padding", `"===="`, false}, {"three pads", `"A==="`, false}, {"padding in the middle", `"AA==AAAA"`, false}, {"unused bits, two", `"AB=="`, false}, {"unused bits, four", `"AAB="`, false},
		{"line break", `"AAAA\nAAAA"`, false}, {"carriage return", `"AAA\r"`, false}, {"space", `"AAA "`, false}, {"other character", `"AA*A"`, false}, {"NUL", `"AAA\u0000"`, false},
		{"second of an array", `["AAAA","AB=="]`, false},
	} {
		for _, name := range []string{"b", "\\u0062", "text"} {
			err := jsonguard.Check([]byte(`{"x":{"`+name+`":`+tt.text+`,"after":"-"}}`), 100, binary)
			if ok := tt.ok || name == "text"; (err == nil) != ok {
				t.Errorf("%s in %s: error is %v, want accepted %v", tt.name, name, err, ok)
			}
			if err != nil && !strings.Contains(err.Error(), "/x/b") {
				t.Errorf("%s: the error does not name the field: %v", tt.name, err)
			}
		}
	}
}

// FuzzBase64: a string is accepted if, and only if, it is what encoding its bytes gives.
func FuzzBase64(f *testing.F) {
	for _, seed := range []string{"", "AA==", "AB==", "AAA=", "+//+/Q==", "-__-", "A"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
			return
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		want := err == nil && base64.StdEncoding.EncodeToString(raw) == text
		if got := jsonguard.Check([]byte(`{"b":"`+text+`"}`), 10, binary) == nil; got != want {
			t.Errorf("%q: accepted %v, want %v", text, got, want)
		}
	})
}

// TestLIB34_Cost: hostile text costs no memory to speak of, and little time.
func TestLIB34_Cost(t *testing.T) {
	const size = 10 << 20
	fill := func(before, s, after string) []byte {
		return slices.Concat([]byte(before), bytes.Repeat([]byte(s), size/len(s)), []byte(after))
	}
	for name, text := range map[string][]byte{
		"ten megabytes of brackets": fill("", "[", ""),
		"ten megabytes of objects":  fill("", `{"a":`, ""),
		"a million entries":         fill("[{}", ",{}", "]"),
		"a long string":             fill(`{"b":"`, "A", `"}`),
		"a long name":               fill(`{"`, "A", `":1}`),
		"a long name twice":         slices.Concat(fill(`{"`, "A", `":1,`), fill(`"`, "A", `":1}`)),
		"a long number":             fill(`{"a":`, "9", `}`),
		"many names":                fill(`{"a":{}`, `,"a":{}`, `}`),
		"a long string of escapes":  fill(`{"b":"`, `\u0041`, `"}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		err := jsonguard.Check(text, 16<<10, binary)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 2*uint64(len(text))+1<<20 {
			t.Errorf("%s: takes %d bytes for %d", name, got, len(text))
		}
		// The bound is 100 ms per MiB; a busy machine gets five times as much.
		if took > time.Duration(len(text)>>20)*500*time.Millisecond {
			t.Errorf("%s: takes %v", name, took)
		}
		if err == nil && !strings.HasPrefix(name, "a long string") && !strings.HasPrefix(name, "a long number") {
			t.Errorf("%s: accepted", name)
		}
	}
}

// numbered is an object with so many names.
func numbered(names int, last string) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range names {
		fmt.Fprintf(&b, `"%06d":1,`, i)
	}
	return b.String() + last + "}"
}

// TestLIB34_Limits holds Check and CheckOpen against what they bound.
func TestLIB34_Limits(t *testing.T) {
	nested := func(depth int, before, after string) string {
		return strings.Repeat(before, depth) + "1" + strings.Repeat(after, depth)
	}
	for _, tt := range []struct{ name, text, strict, open string }{
		{"128 elements", "[" + strings.Repeat("1,", 127) + "1]", "", ""},
		{"129 elements", "[" + strings.Repeat("1,", 128) + "1]", `more than 128 elements, at "/128"`, ""},
		{"129 objects", "[" + strings.Repeat("{},", 128) + "{}]", `more than 128 elements, at "/128"`, ""},
		{"129 strings", "[" + strings.Repeat(`"",`, 128) + `""]`, `more than 128 elements, at "/128"`, ""},
		{"two lists of 128", "[[" + strings.Repeat("1,", 127) + "1],[" + strings.Repeat("1,", 127) + "1]]", "", ""},
		{"a null in a list", `{"a":[null]}`, `"/a/0" is a null in a list`, ""},
		{"256 levels of lists", nested(256, "[", "]"), "", ""},
		{"257 levels of lists", nested(257, "[", "]"), "nested deeper than 256 levels", "nested deeper than 256 levels"},
		{"256 levels of objects", nested(256, `{"a":`, "}"), "", ""},
		{"257 levels of objects", nested(257, `{"a":`, "}"), "nested deeper than 256 levels", "nested deeper than 256 levels"},
		{"a name of 300 bytes", `{"` + strings.Repeat("x", 298) + `":1}`, "a name of 300 bytes", ""},
		{"a name of 8 KiB", `{"` + strings.Repeat("x", 8<<10-2) + `":1}`, "a name of 8192 bytes", ""},
		{"a longer name", `{"` + strings.Repeat("x", 8<<10-1) + `":1}`, "a name of 8193 bytes", "a name of 8193 bytes at 8194, the limit is 8192"},
		{"not base64", `{"b":"*"}`, `"/b" is not canonical base64`, ""},
		{"trailing data", `{}{}`, "trailing", "trailing"},
		{"a duplicate", `{"a":{"c":1,"c":2}}`, `duplicate name "c", at "/a/c"`, `duplicate name "c", at "/a/c"`},
		{"65 names, the last twice", numbered(64, `"000063":1`), `duplicate name "000063"`, `duplicate name "000063"`},
		{"66 names, the last twice", numbered(65, `"000063":1`), "duplicate name in the object that ends at", "duplicate name in the object that ends at"},
		{"66 names", numbered(65, `"x":1`), "", ""},
		{"1,000 names, the last twice", numbered(999, `"000500":1`), "duplicate name in the object that ends at", "duplicate name in the object that ends at"},
		{"1,000 names", numbered(999, `"x":1`), "", ""},
		{"1,000 names and the same within", numbered(999, `"x":`+numbered(999, `"x":1`)), "", ""},
		{"1,000 names around others, the last twice", numbered(999, `"x":`+numbered(999, `"x":1`)+`,"000000":1`), "duplicate name in the object", "duplicate name in the object"},
		{"32,768 names", numbered(32767, `"x":1`), "", ""},
		{"one more", numbered(32768, `"x":1`), "too many names", "too many names"},
		{"as many in several objects", `[` + numbered(20000, `"x":1`) + `,` + numbered(20000, `"x":1`) + `]`, "", ""},
	} {
		for how, err := range map[string]error{"Check": jsonguard.Check([]byte(tt.text), 1<<20, binary), "CheckOpen": jsonguard.CheckOpen([]byte(tt.text))} {
			want := tt.strict
			if how == "CheckOpen" {
				want = tt.open
			}
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s, %s: error is %v, want one that names %q", how, tt.name, err, want)
			}
		}
	}
}

func TestExcerpt(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"text":                    "text",
		strings.Repeat("a", 256):  strings.Repeat("a", 256),
		strings.Repeat("a", 257):  strings.Repeat("a", 256) + "...",
		strings.Repeat("ä€", 100): strings.Repeat("ä€", 51) + "...",
	} {
		if got := jsonguard.Excerpt(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzNames: a name stands twice if, and only if, a decoder that remembers all names says so.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":1,"a":2}`, `{"a":{"a":[{"b":1,"\u0062":2}]}}`, `{"a":[null,"",1e5],"":{}}`, numbered(70, `"000001":1`), numbered(70, `"x":1`), "-6E66666"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := jsontext.Value(text).IsValid()
		if got := jsonguard.CheckOpen([]byte(text)); (got == nil) != want && len(text) < 512 {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	})
}

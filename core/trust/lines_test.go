package trust_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
)

// TestLoadAll reads files of one and of several trust roots.
func TestLoadAll(t *testing.T) {
	one, two := line(t), line(t)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, []byte("\n")) }
	for _, tt := range []struct {
		name, file string
		text       []byte
		names      string // of the roots
		want       string // in the error
	}{
		{"one", "a.json", one, "acme", ""},
		{"one, indented", "a.json", coretest.New(t).TrustedRootJSON(t), "acme", ""},
		{"a line", "a.jsonl", one, "acme", ""},
		{"two lines", "a.jsonl", join(one, two), "acme acme-2", ""},
		{"two lines and a line break", "a.jsonl", join(one, two, nil), "acme acme-2", ""},
		{"empty lines and carriage returns", "a.jsonl", join(nil, append(slices.Clone(one), '\r'), []byte("\r"), two, nil), "acme acme-2", ""},
		{"two lines in a .json", "a.json", join(one, two), "", "trailing"},
		{"an indented root in a .jsonl", "a.jsonl", coretest.New(t).TrustedRootJSON(t), "", "a.jsonl:1: "},
		{"garbage in the third line", "a.jsonl", join(one, two, []byte("{}")), "", "a.jsonl:3: trusted root: mediaType"},
		{"the same twice", "a.jsonl", join(one, two, one), "", "a.jsonl:3: trusted root 1 stands twice"},
		{"nothing", "a.jsonl", nil, "", "no trusted root"},
		{"too large", "a.jsonl", bytes.Repeat([]byte("\n"), trust.MaxSize+1), "", "larger than"},
	} {
		path := filepath.Join(t.TempDir(), tt.file)
		if err := os.WriteFile(path, tt.text, 0o600); err != nil {
			t.Fatal(err)
		}
		roots, err := trust.LoadAll("acme", path)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error is %v, want one that names %q", tt.name, err, tt.want)
		}
		var names []string
		for _, r := range roots {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, " "); got != tt.names {
			t.Errorf("%s: roots %q, want %q", tt.name, got, tt.names)
		}
	}
	if _, err := trust.LoadAll("acme", filepath.Join(t.TempDir(), "none.jsonl")); err == nil {
		t.Error("a missing file is read")
	}
	var many [][]byte
	for range 65 {
		many = append(many, line(t))
	}
	path := filepath.Join(t.TempDir(), "many.jsonl")
	if err := os.WriteFile(path, join(many...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.LoadAll("acme", path); err == nil || !strings.Contains(err.Error(), ":65: more than 64") {
		t.Errorf("65 roots: %v", err)
	}
}

// line is a new trust root without line breaks.
func line(tb testing.TB) []byte {
	tb.Helper()
	return []byte(strings.NewReplacer("\n", "", "  ", "").Replace(string(coretest.New(tb).TrustedRootJSON(tb))))
}

package config

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// DropIn is the directory of the pattern that is read last of those that import
// NAME from a directory, and whether there is one: a file of that name there
// overrides all others but those of that directory whose names sort after it. If
// there is none, [AddImport] can make one.
func (c *Config) DropIn(name string) (dir string, ok bool) {
	for i := len(c.Imports) - 1; i >= 0; i-- {
		dir, base := filepath.Split(c.Imports[i].Pattern)
		matches, err := filepath.Match(base, name)
		if err == nil && matches && strings.Contains(base, "*") && !strings.Contains(dir, "*") {
			return filepath.Clean(dir), true
		}
	}
	return "", false
}

// DropInVersion is the version to write a drop-in in: that of the main file, 1 where
// it names none. Up to containerd 2.2 a drop-in of another version changes what
// is read in the main file, and 2.3 refuses a later one. Where there is no main
// file it is the release's newest.
func (c *Config) DropInVersion() int {
	if len(c.Files) == 0 {
		return c.Release.version()
	}
	return max(c.Version, 1)
}

var (
	// importsKey finds where the list of imports begins.
	importsKey = regexp.MustCompile(`(?im)^[ \t]*["']?imports["']?[ \t]*=[ \t]*\[`)
	// versionLine is where a key can be added: the line of the version.
	versionLine = regexp.MustCompile(`(?im)^[ \t]*version[ \t]*=[ \t]*[0-9]+[ \t]*(#.*)?\r?\n`)
)

// AddImport is a main file's text with one more pattern at the end of its imports,
// and nothing else changed. The pattern's files are read after those of the other
// patterns. An error means that it must be edited by hand.
func AddImport(main []byte, pattern string) ([]byte, error) {
	if strings.ContainsAny(pattern, "'\r\n") {
		return nil, fmt.Errorf("importing %q: a pattern has neither quotes nor line ends", pattern)
	}
	var before map[string]any
	if err := toml.Unmarshal(main, &before); err != nil {
		return nil, fmt.Errorf("importing %s: %w", pattern, err)
	}
	imports, _ := lookup(before, "imports").([]any)
	for _, after := range extended(main, "'"+pattern+"'", len(imports)) {
		// Whether it is where it belongs, and not within a string or below a table, the reader
		// of the file knows best.
		var now map[string]any
		if err := toml.Unmarshal(after, &now); err != nil {
			continue
		}
		found, _ := lookup(now, "imports").([]any)
		if len(found) == len(imports)+1 && found[len(imports)] == pattern && reflect.DeepEqual(found[:len(imports)], append([]any{}, imports...)) &&
			reflect.DeepEqual(withoutImports(maps.Clone(before)), withoutImports(now)) {
			return after, nil
		}
	}
	return nil, fmt.Errorf("the imports cannot be extended by a program: add '%s' to them, at the end, by hand", pattern)
}

// extended are the texts that may be a file with one more entry in its imports,
// which are so many yet.
func extended(main []byte, entry string, imports int) [][]byte {
	var out [][]byte
	if at := importsKey.FindIndex(main); at != nil {
		if end := listEnd(main, at[1]); end >= 0 {
			separated := entry
			if imports > 0 && !trailingComma(main[at[1]:end]) {
				separated = ", " + entry
			}
			out = append(out, splice(main, end, separated))
		}
	}
	line := "imports = [" + entry + "]\n"
	if at := versionLine.FindIndex(main); at != nil {
		out = append(out, splice(main, at[1], line))
	}
	return append(out, splice(main, 0, line))
}

func withoutImports(m map[string]any) map[string]any {
	for key := range m {
		if strings.EqualFold(key, "imports") {
			delete(m, key)
		}
	}
	return m
}

// listEnd is where a list ends that began before an offset: at its bracket, which
// is neither in a string nor in a comment; -1 if it does not.
func listEnd(text []byte, from int) int {
	for i := from; i < len(text); i++ {
		switch c := text[i]; c {
		case ']':
			return i
		case '#':
			end := bytes.IndexByte(text[i:], '\n')
			if end < 0 {
				return -1
			}
			i += end
		case '"', '\'':
			for i++; i < len(text) && text[i] != c; i++ {
				if c == '"' && text[i] == '\\' {
					i++
				}
			}
		}
	}
	return -1
}

// comment is a comment to the end of its line, after a string or a comma.
var comment = regexp.MustCompile(`(?m)#[^"'\n]*$`)

// trailingComma reports whether a list's last element has a comma after it.
func trailingComma(list []byte) bool {
	return bytes.HasSuffix(bytes.TrimSpace(comment.ReplaceAll(list, nil)), []byte(","))
}

func splice(text []byte, at int, insert string) []byte {
	return append(append(bytes.Clone(text[:at]), insert...), text[at:]...)
}

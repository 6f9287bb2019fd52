// Package yamlfile reads Touchmark's own YAML files strictly.
//
//	var doc struct {
//		Listen string `yaml:"listen"`
//	}
//	f, err := yamlfile.Decode(data, path, &doc)
//	if err == nil && doc.Listen == "" {
//		err = f.Fail("listen", "is missing")
//	}
//
// An unknown field, a field that stands twice, an empty value, an alias and a tag
// are errors that name file, line and field: a setting that is overlooked in
// silence is one that somebody relies on.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Error is what is wrong in a file.
type Error struct {
	File    string
	Line    int    // from 1; 0 if it is about the file as a whole
	Field   string // such as "trust.tuf[0].mirror"; may be empty
	Problem string
}

// Error names file, line and field.
func (e *Error) Error() string {
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", place, e.Line)
	}
	if e.Field != "" {
		place += ": " + e.Field
	}
	return place + ": " + e.Problem
}

// File is a file that was read, for errors about its fields.
type File struct {
	path string
	root *yaml.Node // of the document; nil if the file says nothing
}

// Decode reads the content of a file into doc, a pointer to a struct with yaml
// tags, and refuses what readers understand differently. path is the file's. An
// empty file says nothing and is no error; every error is an [*Error].
func Decode(data []byte, path string, doc any) (*File, error) {
	f := &File{path: path}
	var node, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&node); {
	case errors.Is(err, io.EOF):
		return f, nil // an empty file says nothing
	case err != nil:
		return nil, f.yamlError(err)
	}
	if !errors.Is(dec.Decode(&more), io.EOF) {
		return nil, &Error{File: f.path, Problem: "holds more than one document"}
	}
	f.root = node.Content[0]
	if f.root.Kind == yaml.ScalarNode && f.root.ShortTag() == "!!null" {
		return f, nil
	}
	if err := f.plain(f.root, ""); err != nil {
		return nil, err
	}
	strict := yaml.NewDecoder(bytes.NewReader(data))
	strict.KnownFields(true)
	if err := strict.Decode(doc); err != nil {
		return nil, f.yamlError(err)
	}
	return f, nil
}

// plain refuses what is not written out: aliases, merge keys, tags, and values
// that are empty.
func (f *File) plain(n *yaml.Node, field string) error {
	wrong := func(problem string) error {
		return &Error{File: f.path, Line: n.Line, Field: strings.TrimPrefix(field, "."), Problem: problem}
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return wrong("anchors and aliases are not supported; write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		return wrong("the tag " + n.Tag + " has no meaning here")
	case n.Kind == yaml.ScalarNode && n.Value == "":
		return wrong("is empty; give it a value, or leave it out")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return wrong("is null; give it a value, or leave it out")
	}
	for i, child := range n.Content {
		name := field
		switch {
		case n.Kind == yaml.SequenceNode:
			name = fmt.Sprintf("%s[%d]", field, i)
		case i%2 == 1:
			name = field + "." + n.Content[i-1].Value
		case child.ShortTag() == "!!merge":
			return &Error{File: f.path, Line: child.Line, Problem: "merge keys (<<) are not supported; write the fields out"}
		}
		if err := f.plain(child, name); err != nil {
			return err
		}
	}
	return nil
}

// How the YAML library words its errors; compiled when there is one.
var (
	yamlLine    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`line (\d+): ([^\n]*)`) })
	yamlUnknown = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\Afield (\S+) not found in type .*\z`) })
	yamlType    = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\Acannot unmarshal \S+ (?:\x60[^\x60]*\x60 )?into (.+)\z`)
	})
)

// yamlError is the library's error in this package's words.
func (f *File) yamlError(err error) error {
	e := &Error{File: f.path, Problem: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := yamlLine().FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1]) // digits, by the expression
		e.Problem = m[2]
	}
	if m := yamlUnknown().FindStringSubmatch(e.Problem); m != nil {
		e.Field, e.Problem = m[1], "unknown field"
	} else if m := yamlType().FindStringSubmatch(e.Problem); m != nil {
		want := map[string]string{"string": "a text", "bool": "true or false", "int": "a number", "float64": "a number"}[m[1]]
		if want == "" {
			want = "a mapping or a list"
		}
		e.Problem = "is of another type; want " + want
	}
	return e
}

// Fail is an error about a field such as "trust.tuf[0].mirror", which names its
// line.
func (f *File) Fail(field, format string, args ...any) error {
	line := 0
	if n := find(f.root, field); n != nil {
		line = n.Line
	}
	return &Error{File: f.path, Line: line, Field: field, Problem: fmt.Sprintf(format, args...)}
}

// find returns the node of a field such as "trust.tuf[0].mirror", or the nearest
// that holds it.
func find(n *yaml.Node, field string) *yaml.Node {
	for _, part := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if n == nil {
			return nil
		}
		if i, err := strconv.Atoi(part); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			n = n.Content[i]
			continue
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				n = n.Content[i+1]
				break
			}
		}
	}
	return n
}

// Path makes a path that is written in the file absolute: it is relative to the
// file's directory. What is not written is byDefault.
func (f *File) Path(written, byDefault string) string {
	switch {
	case written == "":
		return byDefault
	case filepath.IsAbs(written):
		return filepath.Clean(written)
	}
	return filepath.Join(filepath.Dir(f.path), written)
}

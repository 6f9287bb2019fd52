package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits on YAML, far above what people write.
const (
	maxDepth = 64        // of nested values
	maxNodes = 4_000_000 // in all files, aliases counted each time they are used: 10,000 policies have about 500,000
)

// reader reads the YAML of one or several files, and collects what is wrong
// with it: whoever repairs a file wants to know everything at once.
type reader struct {
	ctx     context.Context
	options Options
	file    string // being read; empty if it has no name
	dir     string // relative paths in the file are relative to it
	errs    Errors
	nodes   int  // that were visited
	stopped bool // nothing more is looked at
	// fetched is what was read from elsewhere, for the set's digest.
	fetched [][]byte
}

func (r *reader) fail(line int, field, format string, args ...any) {
	if len(r.errs) < maxErrors {
		r.errs = append(r.errs, &Error{File: r.file, Line: line, Field: field, Problem: fmt.Sprintf(format, args...)})
	}
}

// full reports whether more errors would not be told.
func (r *reader) full() bool { return r.stopped || len(r.errs) >= maxErrors }

// stop says what makes it pointless to look at the rest.
func (r *reader) stop(line int, format string, args ...any) {
	r.fail(line, "", format, args...)
	r.stopped = true
}

// yamlLine is where the YAML library says that an error is.
var yamlLine = regexp.MustCompile(`\A(?:yaml: )?line (\d+): `)

// next reads the next document of a stream; false at its end, or if the rest
// of the stream cannot be read.
func (r *reader) next(dec *yaml.Decoder) (value, bool) {
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return value{}, false
	}
	if err != nil {
		line, text := 0, strings.TrimPrefix(err.Error(), "yaml: ")
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits, by the expression
			text = err.Error()[len(m[0]):]
		}
		r.fail(line, "", "not YAML: %s", text)
		return value{}, false
	}
	before := len(r.errs)
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		r.settle(doc.Content[0], 0)
		doc = *doc.Content[0]
	}
	return value{r: r, node: &doc}, len(r.errs) == before
}

// settle makes a tree of nodes safe to read: it puts what aliases stand for in
// their place, within bounds, and refuses what readers understand differently
// (duplicate keys, merge keys, tags).
func (r *reader) settle(n *yaml.Node, depth int) {
	r.nodes++
	switch {
	case r.full():
		return
	case r.nodes > maxNodes:
		r.stop(n.Line, "more than %d values, aliases counted each time", maxNodes)
		return
	case depth > maxDepth:
		r.stop(n.Line, "values are nested more than %d deep", maxDepth)
		return
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(n.Line, "", "the tag %s has no meaning here", n.Tag)
	}
	for i, child := range n.Content {
		if child.Kind == yaml.AliasNode {
			child = child.Alias
			n.Content[i] = child
		}
		r.settle(child, depth+1)
	}
	if n.Kind == yaml.MappingNode {
		r.checkKeys(n)
	}
}

func (r *reader) checkKeys(n *yaml.Node) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		switch line, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			r.fail(key.Line, "", "a key is not a word")
		case key.ShortTag() == "!!merge":
			r.fail(key.Line, "", "merge keys (<<) are not supported; write the fields out")
		case twice:
			r.fail(key.Line, key.Value, "duplicate key, already defined in line %d", line)
		}
		seen[key.Value] = key.Line
	}
}

// value is a YAML value, and where it stands.
type value struct {
	r    *reader
	node *yaml.Node
	path string
}

func (v value) fail(format string, args ...any) { v.r.fail(v.node.Line, v.path, format, args...) }

// where is the file and the line of a value.
func (v value) where() string {
	e := Error{File: v.r.file, Line: v.node.Line}
	return e.place()
}

// kind says what a value is, for people.
func (v value) kind() string {
	switch v.node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch v.node.ShortTag() {
	case "!!null":
		return "empty"
	case "!!str":
		return "a text"
	case "!!bool":
		return "a truth value"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	}
	return "a value of another type"
}

// wrongType says that a value is not what is wanted. Nothing is taken for what
// it is not: "subject: 1" may be meant as a text, but "keyless:" with nothing
// behind it is a mistake.
func (v value) wrongType(want string) {
	switch kind := v.kind(); {
	case kind == "empty":
		v.fail("is empty; want %s, or leave it out", want)
	case want == "a text" && v.node.Kind == yaml.ScalarNode:
		v.fail("is %s; want a text, put it in quotes", kind)
	default:
		v.fail("is %s; want %s", kind, want)
	}
}

// text reads a text that is not empty.
func (v value) text() string {
	switch {
	case v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!str":
		v.wrongType("a text")
		return ""
	case v.node.Value == "":
		v.fail("is an empty text; give it one, or leave it out")
	}
	return v.node.Value
}

func (v value) bool() bool {
	b, err := strconv.ParseBool(v.node.Value)
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!bool" || err != nil {
		v.wrongType("true or false")
	}
	return b
}

// number reads a whole number.
func (v value) number(least, most int) int {
	n, err := strconv.Atoi(v.node.Value)
	switch {
	case v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!int" || err != nil:
		v.wrongType("a whole number")
	case n < least || n > most:
		v.fail("is %d, want %d to %d", n, least, most)
	}
	return n
}

// choice reads one of several words.
func (v value) choice(words ...string) string {
	s := v.text()
	if s != "" && !slices.Contains(words, s) {
		v.fail("%q is not %s%s", s, strings.Join(words, " or "), suggestion(s, words))
	}
	return s
}

// suggestion asks whether another word was meant.
func suggestion(word string, known []string) string {
	if n := nearest(word, known); n != "" {
		return fmt.Sprintf(" (did you mean %s?)", n)
	}
	return ""
}

// list reads a list of 1 to most values.
func (v value) list(most int) []value {
	if v.node.Kind != yaml.SequenceNode {
		v.wrongType("a list")
		return nil
	}
	if n := len(v.node.Content); n == 0 || n > most {
		v.fail("has %d entries, want 1 to %d", n, most)
		return nil
	}
	values := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		values[i] = value{r: v.r, node: n, path: fmt.Sprintf("%s[%d]", v.path, i)}
	}
	return values
}

// fields are the fields of a mapping.
type fields struct {
	value
	broken bool // it is no mapping, which has been said
}

// fields reads a mapping that has no other fields than these. One that is not
// a mapping has none.
func (v value) fields(known ...string) fields {
	if v.node.Kind != yaml.MappingNode {
		v.wrongType("a mapping")
		return fields{value{r: v.r, node: &yaml.Node{Kind: yaml.MappingNode, Line: v.node.Line}, path: v.path}, true}
	}
	for i := 0; i < len(v.node.Content); i += 2 {
		if key := v.node.Content[i]; !slices.Contains(known, key.Value) {
			v.r.fail(key.Line, v.child(key.Value), "unknown field%s", suggestion(key.Value, known))
		}
	}
	return fields{v, false}
}

func (v value) child(name string) string {
	if v.path == "" {
		return name
	}
	return v.path + "." + name
}

// get returns a field's value.
func (f fields) get(name string) (value, bool) {
	for i := 0; i < len(f.node.Content); i += 2 {
		if f.node.Content[i].Value == name {
			return value{r: f.r, node: f.node.Content[i+1], path: f.child(name)}, true
		}
	}
	return value{}, false
}

// has reports whether a field is there, be it empty.
func (f fields) has(name string) bool {
	_, ok := f.get(name)
	return ok
}

// require returns a field's value, and says if it is missing.
func (f fields) require(name string) (value, bool) {
	v, ok := f.get(name)
	if !ok && !f.broken {
		f.r.fail(f.node.Line, f.child(name), "is missing")
	}
	return v, ok
}

// text reads a text that may be left out.
func (f fields) text(name string) string {
	if v, ok := f.get(name); ok {
		return v.text()
	}
	return ""
}

// requireText reads a text that may not be left out.
func (f fields) requireText(name string) string {
	if v, ok := f.require(name); ok {
		return v.text()
	}
	return ""
}

// bool reads a truth value; one that is left out is false.
func (f fields) bool(name string) bool {
	if v, ok := f.get(name); ok {
		return v.bool()
	}
	return false
}

// list reads a list that may be left out.
func (f fields) list(name string, most int) []value {
	if v, ok := f.get(name); ok {
		return v.list(most)
	}
	return nil
}

// requireList reads a list that may not be left out.
func (f fields) requireList(name string, most int) []value {
	if v, ok := f.require(name); ok {
		return v.list(most)
	}
	return nil
}

// refuse says that a field is known, and why it is not supported.
func (f fields) refuse(name, why string) {
	if v, ok := f.get(name); ok {
		v.fail("is not supported: %s", why)
	}
}

// onlyCluster refuses a field that has a meaning in a cluster only, unless the
// options say to ignore it.
func (f fields) onlyCluster(name string) {
	if !f.r.options.IgnoreClusterMatch {
		f.refuse(name, "it has a meaning in a Kubernetes cluster only (--ignore-cluster-match ignores it)")
	}
}

// exactlyOne says which one of several fields is there. The empty string says
// that there is not exactly one.
func (f fields) exactlyOne(names ...string) string {
	var have []string
	for _, name := range names {
		if f.has(name) {
			have = append(have, name)
		}
	}
	if len(have) == 1 {
		return have[0]
	}
	if f.broken {
		return ""
	}
	found := "none"
	if len(have) > 0 {
		found = strings.Join(have, " and ")
	}
	f.fail("want exactly one of %s, have %s", strings.Join(names, ", "), found)
	return ""
}

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/identity"
)

// Change is an entry for a list of an [Enforcement] document: see
// [Exception.Change], [Pin.Change] and [RevocationEntry.Change].
type Change struct {
	list   string
	fields []field
	// same names the field by which an entry is told from others. An entry that is
	// the same is replaced: whoever prolongs an exception wants one, not two. If it
	// is empty, nothing is replaced.
	same string
}

// field is a field of an entry: a text, or a mapping of texts.
type field struct {
	name, text string
	nested     []field
}

// Change is the change that makes the exception.
func (x Exception) Change() Change {
	return Change{list: "exceptions", same: "image", fields: []field{
		{name: "image", text: imageText(x.Repository, x.Digest)}, {name: "reason", text: x.Reason}, {name: "by", text: x.By},
		{name: "expires", text: timeText(x.Expires, true)},
	}}
}

// Change is the change that makes the pin.
func (p Pin) Change() Change {
	return Change{list: "pins", same: "image", fields: []field{
		{name: "image", text: imageText(p.Repository, p.Digest)}, {name: "reason", text: p.Reason}, {name: "by", text: p.By},
		{name: "review", text: timeText(p.Review, true)},
	}}
}

// RevocationEntry is a [Revocation] as it is written. Exactly one of Digest,
// Identity and KeyPEM is set.
type RevocationEntry struct {
	Digest      string
	Identity    *identity.Spec
	KeyPEM      string
	From, Until time.Time
	Reason      string
}

// Change is the change that makes the revocation.
func (r RevocationEntry) Change() Change {
	// A revocation with other bounds must not take the place of a wider one.
	c := Change{list: "revocations"}
	switch {
	case r.Identity != nil:
		id := r.Identity
		c.fields = []field{{name: "identity", nested: []field{
			{name: "issuer", text: id.Issuer}, {name: "issuerRegExp", text: id.IssuerRegExp},
			{name: "subject", text: id.Subject}, {name: "subjectRegExp", text: id.SubjectRegExp},
		}}}
	case r.KeyPEM != "":
		c.fields = []field{{name: "key", text: r.KeyPEM}}
	default:
		c.same = "image"
		c.fields = []field{{name: "image", text: r.Digest}}
	}
	c.fields = append(c.fields, field{name: "from", text: timeText(r.From, false)}, field{name: "until", text: timeText(r.Until, true)},
		field{name: "reason", text: r.Reason})
	return c
}

// timeText is what [ParseTime] reads: a date where it says it all.
func timeText(t time.Time, end bool) string {
	if t.IsZero() {
		return ""
	}
	text := t.UTC().Format(time.DateOnly)
	if day, err := ParseTime(text, end); err == nil && day.Equal(t) {
		return text
	}
	return t.UTC().Format(time.RFC3339)
}

func (f field) node() *yaml.Node {
	if f.nested != nil {
		return mappingNode(f.nested)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: f.text}
	if strings.Contains(f.text, "\n") {
		n.Style = yaml.LiteralStyle
	}
	if _, err := time.Parse(time.DateOnly, f.text); err == nil {
		n.Tag = "!!timestamp" // dates stand without quotes
	}
	return n
}

func mappingNode(fields []field) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields {
		if f.text != "" || f.nested != nil {
			m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: f.name}, f.node())
		}
	}
	return m
}

// newFile is what an empty file becomes before it is changed.
const newFile = `# Exceptions, pins and revocations: see docs/policy.md. "touchmark allow", "pin"
# and "revoke" write them, people may as well.
apiVersion: touchmark.dev/v1alpha1
kind: Enforcement
spec: {}
`

// Edit returns a policy file with changes made in its first Enforcement
// document; one is added if there is none. Other documents keep their bytes,
// and that one its comments and its order. The result is for [Parse] to judge.
func Edit(file []byte, changes ...Change) ([]byte, error) {
	documents := splitDocuments(file)
	at, doc, err := findEnforcement(documents)
	if err != nil {
		return nil, fmt.Errorf("changing policy file: %w", err)
	}
	separator := ""
	switch {
	case doc != nil:
		if isSeparator(documents[at]) {
			separator = "---\n"
		}
	case len(bytes.TrimSpace(file)) == 0:
		documents, at = [][]byte{nil}, 0
	default:
		if last := documents[len(documents)-1]; !bytes.HasSuffix(last, []byte("\n")) {
			documents[len(documents)-1] = append(bytes.Clone(last), '\n')
		}
		documents, at, separator = append(documents, nil), len(documents), "---\n"
	}
	if doc == nil {
		doc = new(yaml.Node)
		if err := yaml.Unmarshal([]byte(newFile), doc); err != nil {
			return nil, fmt.Errorf("changing policy file: %w", err)
		}
	}
	for _, c := range changes {
		if err := c.apply(doc); err != nil {
			return nil, fmt.Errorf("changing policy file: %w", err)
		}
	}
	var out bytes.Buffer
	out.WriteString(separator)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(doc), enc.Close()); err != nil {
		return nil, fmt.Errorf("changing policy file: %w", err)
	}
	documents[at] = out.Bytes()
	return bytes.Join(documents, nil), nil
}

// splitDocuments cuts a stream before each line that begins a document. Such a
// line cannot be part of a text: "---" at the start of a line is nothing else
// in YAML.
func splitDocuments(file []byte) [][]byte {
	var documents [][]byte
	start := 0
	for at := 0; at < len(file); {
		end := at + bytes.IndexByte(file[at:], '\n') + 1
		if end == at {
			end = len(file)
		}
		if isSeparator(file[at:end]) && at > start {
			documents = append(documents, file[start:at])
			start = at
		}
		at = end
	}
	return append(documents, file[start:])
}

// isSeparator reports whether a line begins a document.
func isSeparator(line []byte) bool {
	return bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || bytes.ContainsAny(line[3:4], " \t\r\n"))
}

// findEnforcement finds the first Enforcement document.
func findEnforcement(documents [][]byte) (int, *yaml.Node, error) {
	for i, document := range documents {
		var node, rest yaml.Node
		dec := yaml.NewDecoder(bytes.NewReader(document))
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		// YAML knows more line breaks than splitDocuments does; what stands behind
		// them would be lost.
		if err := dec.Decode(&rest); !errors.Is(err, io.EOF) {
			return 0, nil, errors.New(`a document begins behind another line break than "\n" or "\r\n"; write it so`)
		}
		if kind := child(node.Content[0], "kind"); kind != nil && kind.Value == "Enforcement" {
			return i, &node, nil
		}
	}
	return 0, nil, nil
}

// child is a field of a mapping; nil if there is none.
func child(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// apply puts the entry into its list.
func (c Change) apply(doc *yaml.Node) error {
	spec := child(doc.Content[0], "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return errors.New("the Enforcement document has no spec")
	}
	spec.Style = 0 // "{}" becomes a block
	list := child(spec, c.list)
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode}
		spec.Content = append(spec.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: c.list}, list)
	}
	if list.Kind != yaml.SequenceNode {
		return fmt.Errorf("line %d: spec.%s is not a list", list.Line, c.list)
	}
	list.Style = 0
	entry := mappingNode(c.fields)
	for i, other := range list.Content {
		if c.same != "" && equalNodes(child(other, c.same), child(entry, c.same)) {
			entry.HeadComment, entry.LineComment, entry.FootComment = other.HeadComment, other.LineComment, other.FootComment
			list.Content[i] = entry
			return nil
		}
	}
	list.Content = append(list.Content, entry)
	return nil
}

// equalNodes reports whether two values say the same, in the same order.
func equalNodes(a, b *yaml.Node) bool {
	if a == nil || b == nil || a.Kind != b.Kind || strings.TrimSpace(a.Value) != strings.TrimSpace(b.Value) || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !equalNodes(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

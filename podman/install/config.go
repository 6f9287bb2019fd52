package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/hostfiles"
)

// observeFile is the policy file that makes a host observe.
const observeFile = "touchmark-observe.yaml"

// observing is its text.
const observing = `# Written by touchmark install podman --mode observe; --mode enforce takes it away.
apiVersion: touchmark.dev/v1alpha1
kind: Enforcement
metadata:
  name: observe
spec:
  mode: observe
  unmatched:
    action: refuse
    mode: observe
`

// noEnforcement refuses to observe by a file of our own where another says
// otherwise: of all Enforcement documents one may have each of these fields.
func (p *planner) noEnforcement() error {
	texts := map[string][]byte{}
	for name, text := range p.Policies {
		texts[filepath.Join(p.PolicyDir, name)] = text
	}
	entries, err := os.ReadDir(p.PolicyDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; with a single policy file, write \"mode: observe\" into its Enforcement document", err)
	}
	for _, e := range entries {
		path := filepath.Join(p.PolicyDir, e.Name())
		if _, ok := texts[path]; ok || e.Name() == observeFile || filepath.Ext(path) != ".yaml" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		s, _, err := hostfiles.ReadState(path)
		if err != nil {
			return err
		}
		texts[path] = s.Data
	}
	for path, text := range texts {
		dec := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var doc struct {
				Kind string
				Spec struct{ Mode, Unmatched yaml.Node }
			}
			err := dec.Decode(&doc)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if doc.Kind == "Enforcement" && !(doc.Spec.Mode.IsZero() && doc.Spec.Unmatched.IsZero()) {
				return fmt.Errorf("%s: its Enforcement document has a mode or unmatched of its own; take them out while observing", path)
			}
		}
	}
	return nil
}

// config is Touchmark's own config.yaml. What somebody wrote there stays.
func (p *planner) config() error {
	if p.Form == Native {
		return nil
	}
	path := filepath.Join(p.Host.Touchmark(), "config.yaml")
	was, existed, _, err := p.record.Before(path)
	if err != nil {
		return err
	}
	text := was.Data
	if !existed {
		text = []byte("# Written by touchmark install podman.\n")
	}
	text, err = setConfig(text, p.Settings)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.file(path, text)
	return nil
}

// setConfig sets what the agent has to know in a config.yaml's text; comments
// and everything else stay. A text that says so already is returned as it is.
func setConfig(text []byte, s Settings) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
		doc.HeadComment = strings.TrimSpace(string(text))
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, errors.New("is not a mapping")
	}
	changed := false
	set := func(section, name string, value any) error {
		at := member(root, section)
		if at == nil {
			at = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: section}, at)
		}
		if at.Kind != yaml.MappingNode {
			return fmt.Errorf("%s: is not a mapping", section)
		}
		var node yaml.Node
		if err := node.Encode(value); err != nil {
			return err
		}
		old := member(at, name)
		switch {
		case old == nil:
			at.Content = append(at.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, &node)
		case same(old, value):
			return nil
		default:
			*old = node
		}
		changed = true
		return nil
	}
	if err := errors.Join(set("agent", "listen", s.Listen), set("podman", "form", s.Form), set("podman", "scopes", s.Scopes)); err != nil {
		return nil, err
	}
	if !changed {
		return text, nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// same reports whether a node holds a text, or a list of them.
func same(n *yaml.Node, value any) bool {
	switch v := value.(type) {
	case string:
		return n.Kind == yaml.ScalarNode && n.Value == v
	case []string:
		var have []string
		return n.Decode(&have) == nil && slices.Equal(have, v)
	}
	return false
}

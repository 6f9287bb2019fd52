package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	p.files = append(p.files, hostfiles.File{Path: filepath.Join(p.Host.Touchmark(), "config.yaml"), Mode: 0o644, Fields: []hostfiles.Field{
		{Section: "agent", Name: "listen", Value: p.Listen}, {Section: "podman", Name: "form", Value: p.Form}, {Section: "podman", Name: "scopes", Value: p.Scopes},
	}})
	return nil
}

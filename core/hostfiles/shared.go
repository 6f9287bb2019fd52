package hostfiles

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// written begins the comment of a shared file that was not there before.
const written = "# Written by touchmark install"

// Field is one setting in a YAML file that several installers and people share,
// such as config.yaml: a member of a mapping that is a member of the file's.
type Field struct {
	Section, Name string
	Value         any // a text, a number, a truth or a list of them
}

// SavedField is what a record knows of a [Field].
type SavedField struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	// Was is the value before, and Is the one that was written, as YAML. Was is ""
	// if there was none.
	Was string `json:"was,omitempty"`
	Is  string `json:"is"`
}

// mapping is a YAML file whose outermost node is a mapping.
type mapping struct {
	doc     yaml.Node
	changed bool
}

// parseMapping reads a file. One without anything but comments is an empty mapping.
func parseMapping(text []byte) (*mapping, error) {
	m := new(mapping)
	if err := yaml.Unmarshal(text, &m.doc); err != nil {
		return nil, err
	}
	if len(m.doc.Content) == 0 {
		m.doc = yaml.Node{Kind: yaml.DocumentNode, HeadComment: strings.TrimSpace(string(text)), Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
	}
	if m.doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("is not a mapping")
	}
	return m, nil
}

// find is where a member's value is among a mapping's content; -1 if nowhere.
func find(n *yaml.Node, name string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return i + 1
		}
	}
	return -1
}

// section is a member of the outermost mapping, made if wanted and missing.
func (m *mapping) section(name string, wanted bool) (*yaml.Node, error) {
	root := m.doc.Content[0]
	i := find(root, name)
	if i < 0 && !wanted {
		return nil, nil
	}
	if i < 0 {
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
		i = len(root.Content) - 1
	}
	if root.Content[i].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: is not a mapping", name)
	}
	return root.Content[i], nil
}

// get is a field's value as YAML, "" if it has none.
func (m *mapping) get(section, name string) (string, error) {
	at, err := m.section(section, false)
	if err != nil || at == nil {
		return "", err
	}
	i := find(at, name)
	if i < 0 {
		return "", nil
	}
	return valueText(at.Content[i])
}

// valueText is a value as YAML, without the comments and the style that a person gave it.
func valueText(n *yaml.Node) (string, error) {
	var value any
	if err := n.Decode(&value); err != nil {
		return "", err
	}
	text, err := yaml.Marshal(value)
	return string(text), err
}

// set gives a field a value; "" takes it out, and a section that is empty then.
func (m *mapping) set(section, name, text string) error {
	have, err := m.get(section, name)
	if err != nil || have == text {
		return err
	}
	m.changed = true
	at, err := m.section(section, text != "")
	if err != nil {
		return err
	}
	i := find(at, name)
	if text == "" {
		at.Content = append(at.Content[:i-1], at.Content[i+1:]...)
		if root := m.doc.Content[0]; len(at.Content) == 0 {
			m.takeOut(find(root, section) - 1)
		}
		return nil
	}
	var value yaml.Node
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	if i < 0 {
		at.Content = append(at.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, value.Content[0])
	} else {
		at.Content[i] = value.Content[0]
	}
	return nil
}

// takeOut takes a member out. A comment above the first one is the file's.
func (m *mapping) takeOut(i int) {
	root := m.doc.Content[0]
	comment := root.Content[i].HeadComment
	root.Content = append(root.Content[:i], root.Content[i+2:]...)
	switch {
	case i > 0 || comment == "":
	case len(root.Content) == 0:
		m.doc.HeadComment = strings.TrimSpace(m.doc.HeadComment + "\n" + comment)
	default:
		root.Content[0].HeadComment = strings.TrimSpace(comment + "\n" + root.Content[0].HeadComment)
	}
}

// text is the file, in the bytes that it was read from if nothing changed.
func (m *mapping) text(read []byte) ([]byte, error) {
	if !m.changed {
		return read, nil
	}
	return m.encode()
}

func (m *mapping) encode() ([]byte, error) {
	if len(m.doc.Content[0].Content) == 0 { // "{}" says nothing
		return []byte(m.doc.HeadComment + "\n"), nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err := enc.Encode(&m.doc)
	return out.Bytes(), err
}

// setFields is a shared file with fields in it. What else is in it, comments
// too, stays. Fields of an earlier time that are not wanted any more get the
// value that they had.
func setFields(text []byte, fields []Field, earlier []SavedField) ([]byte, []SavedField, error) {
	m, err := parseMapping(text)
	if err != nil {
		return nil, nil, err
	}
	was := map[[2]string]string{}
	for _, e := range earlier {
		was[[2]string{e.Section, e.Name}] = e.Was
	}
	var saved []SavedField
	wanted := map[[2]string]bool{}
	for _, f := range fields {
		is, err := yaml.Marshal(f.Value)
		if err != nil {
			return nil, nil, err
		}
		key := [2]string{f.Section, f.Name}
		before, ours := was[key]
		if !ours {
			if before, err = m.get(f.Section, f.Name); err != nil {
				return nil, nil, err
			}
		}
		wanted[key] = true
		saved = append(saved, SavedField{Section: f.Section, Name: f.Name, Was: before, Is: string(is)})
	}
	// First what goes: a section stays where it is if something of it remains.
	for _, s := range saved {
		if err := m.set(s.Section, s.Name, s.Is); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range earlier {
		if !wanted[[2]string{e.Section, e.Name}] {
			if err := m.undo(e); err != nil {
				return nil, nil, err
			}
		}
	}
	out, err := m.text(text)
	return out, saved, err
}

// undo gives a field the value that it had, unless somebody gave it another one since.
func (m *mapping) undo(f SavedField) error {
	have, err := m.get(f.Section, f.Name)
	if err != nil || have != f.Is {
		return err
	}
	return m.set(f.Section, f.Name, f.Was)
}

// without is a shared file as it would be had nothing been written to it: now,
// which others have edited, without the fields. exists is false if nothing is
// left then.
func (s *Saved) without(now []byte) (text []byte, exists bool, err error) {
	m, err := parseMapping(now)
	if err != nil {
		return nil, false, err
	}
	for _, f := range s.Fields {
		if err := m.undo(f); err != nil {
			return nil, false, err
		}
	}
	if text, err = m.text(now); err != nil {
		return nil, false, err
	}
	if len(m.doc.Content[0].Content) == 0 && (len(bytes.TrimSpace(text)) == 0 || strings.HasPrefix(m.doc.HeadComment, written)) {
		return nil, false, nil
	}
	if was, err := parseMapping(s.Data); s.Existed && err == nil {
		a, errA := m.encode()
		b, errB := was.encode()
		if errA == nil && errB == nil && bytes.Equal(a, b) {
			return s.Data, true, nil // to the byte
		}
	}
	return text, true, nil
}

// share plans a file of which only some fields are ours.
func (c *Changes) share(w Wanted, f File) error {
	now, exists, err := ReadState(f.Path)
	if err != nil {
		return err
	}
	saved := Saved{Path: f.Path, Existed: exists, State: now}
	var earlier []SavedField
	if old := w.Last.file(f.Path); old != nil {
		earlier = old.Fields
		if saved.State, saved.Existed = old.State, old.Existed; !old.unedited(present(now, exists)) {
			if saved.Data, saved.Existed, err = old.without(now.Data); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
		}
	}
	text := now.Data
	if !exists {
		text = []byte(written + " " + w.Place.Client + ".\n")
	}
	to := State{Mode: f.Mode, UID: w.Place.UID, GID: w.Place.GID}
	if exists {
		to.Mode, to.UID, to.GID = now.Mode, now.UID, now.GID
		to.close(w.Place)
	}
	if to.Data, saved.Fields, err = setFields(text, f.Fields, earlier); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	c.add(f.Path, present(now, exists), &to)
	if !saved.Existed || !saved.State.equal(to) {
		saved.Written = []string{to.digest()}
		c.record.Files = append(c.record.Files, saved)
	}
	return nil
}

// present is a state, nil if there is none.
func present(s State, exists bool) *State {
	if !exists {
		return nil
	}
	return &s
}

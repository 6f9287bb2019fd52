package policyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// members are an object's, undecoded. encoding/json alone would take the last of
// two members of one name, and names in another case.
type members struct {
	place   string
	names   []string // in the order of the text
	members map[string]json.RawMessage
}

// object reads one JSON object with nothing behind it.
func object(place string, data []byte) (*members, error) {
	at := func(err error) error {
		if place == "" {
			return err
		}
		return fmt.Errorf("%s: %w", place, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	token, err := dec.Token()
	if err != nil {
		return nil, at(err)
	}
	if token != json.Delim('{') {
		return nil, at(fmt.Errorf("not an object"))
	}
	m := &members{place: place, members: map[string]json.RawMessage{}}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, at(err)
		}
		name, ok := token.(string)
		if !ok {
			return nil, at(fmt.Errorf("a name is not a string"))
		}
		if _, ok := m.members[name]; ok {
			return nil, at(fmt.Errorf("%q stands twice", name))
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, at(fmt.Errorf("%q: %w", name, err))
		}
		m.names = append(m.names, name)
		m.members[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, at(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, at(fmt.Errorf("text behind the object"))
	}
	return m, nil
}

// only refuses every member that is not named.
func (m *members) only(allowed ...string) error {
	for _, name := range m.names {
		if !slices.Contains(allowed, name) {
			if m.place == "" {
				return fmt.Errorf("%q: unknown key", name)
			}
			return fmt.Errorf("%s.%s: unknown key", m.place, name)
		}
	}
	return nil
}

// exactly demands the named members, and allows no other.
func (m *members) exactly(names ...string) error {
	if err := m.only(names...); err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := m.members[name]; !ok {
			return fmt.Errorf("%s.%s: missing", m.place, name)
		}
	}
	return nil
}

// decode reads the member of that name into a string, a list of strings, bytes
// or a list of them; a member that is missing leaves it as it is.
func (m *members) decode(name string, into any) error {
	value, ok := m.members[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("%s.%s: %w", m.place, name, err)
	}
	return nil
}

// count is how many of the named members there are.
func (m *members) count(names ...string) int {
	n := 0
	for _, name := range names {
		if _, ok := m.members[name]; ok {
			n++
		}
	}
	return n
}

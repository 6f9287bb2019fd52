package ca

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds the nesting of tokens and requests, of which the deepest in use (publicKeyRequest.publicKey.content) has three
// levels. Deep nesting costs stack and time out of proportion to its size.
const maxDepth = 16

// object is a JSON object that every reader reads alike, see parseObject.
type object map[string]json.RawMessage

// parseObject reads one JSON object and refuses what readers disagree about: a name that occurs twice, at any level, and anything
// after the object. encoding/json would take the last of two members, others take the first.
func parseObject(untrusted []byte) (object, error) {
	if err := checkNames(untrusted); err != nil {
		return nil, err
	}
	var o object
	if err := json.Unmarshal(untrusted, &o); err != nil || o == nil {
		return nil, errors.New("is not a JSON object")
	}
	return o, nil
}

func checkNames(untrusted []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(untrusted))
	decoder.UseNumber()
	var open []map[string]bool // the names seen in each object that is open; nil for an array
	name := false              // whether a name or the end of an object comes next
	for {
		token, err := decoder.Token()
		if err != nil {
			return errors.New("is not well-formed JSON")
		}
		if text, ok := token.(string); ok && name {
			seen := open[len(open)-1]
			if seen[text] {
				return fmt.Errorf("has the member %.64q twice", text)
			}
			seen[text], name = true, false
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > maxDepth {
			return fmt.Errorf("is nested more than %d levels deep", maxDepth)
		}
		if len(open) == 0 {
			break
		}
		name = open[len(open)-1] != nil
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("goes on after its end")
	}
	return nil
}

// member returns a member by its protobuf JSON name or its original name in snake case; both may be used, but not at once. An
// absent member and null are nil.
func (o object) member(camel, snake string) (json.RawMessage, error) {
	value, other := o[camel], o[snake]
	if snake != camel && value != nil && other != nil {
		return nil, fmt.Errorf("%s and %s are the same field", camel, snake)
	}
	if value == nil {
		value = other
	}
	if string(value) == "null" {
		return nil, nil
	}
	return value, nil
}

// object returns a member that is an object; nil if it is absent.
func (o object) object(camel, snake string) (object, error) {
	raw, err := o.member(camel, snake)
	if raw == nil || err != nil {
		return nil, err
	}
	var value object
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, fmt.Errorf("%s must be an object", camel)
	}
	return value, nil
}

// text returns a member that is a string; "" if it is absent.
func (o object) text(camel, snake string) (string, error) {
	raw, err := o.member(camel, snake)
	if raw == nil || err != nil {
		return "", err
	}
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", fmt.Errorf("%s must be a string", camel)
	}
	return value, nil
}

// bytes returns a member of protobuf type bytes: base64 in the standard or the URL alphabet, padded or not, as protobuf's JSON
// mapping demands of readers. Nil if it is absent.
func (o object) bytes(camel, snake string) ([]byte, error) {
	value, err := o.text(camel, snake)
	if value == "" || err != nil {
		return nil, err
	}
	encoding := base64.StdEncoding
	if strings.ContainsAny(value, "-_") {
		encoding = base64.URLEncoding
	}
	if !strings.HasSuffix(value, "=") {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	decoded, err := encoding.DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("%s must be base64", camel)
	}
	return decoded, nil
}

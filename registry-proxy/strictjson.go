package registryproxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth is far above any manifest (descriptors' platforms lie at 4) and keeps recursion flat.
const maxJSONDepth = 16

// checkJSON refuses what two parsers may read differently (CVE-2021-41190 and its kin): bytes that are not UTF-8, a key
// twice in one object, trailing data, absurd nesting.
func checkJSON(untrusted []byte) error {
	if !utf8.Valid(untrusted) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(untrusted))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after the document's end")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return errors.New("not valid JSON")
	}
	opening, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if opening == '{' {
			token, err := dec.Token()
			if err != nil {
				return errors.New("not valid JSON")
			}
			key, _ := token.(string)
			if seen[key] {
				return fmt.Errorf("key %.64q appears twice in one object", key)
			}
			seen[key] = true
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errors.New("not valid JSON")
	}
	return nil
}

// decodeExact decodes one object into v and refuses keys that are v's field names in another case: encoding/json would
// take them for the field, most other parsers would not. Unknown keys are fine: the specification demands that.
func decodeExact(raw json.RawMessage, v any, fields []string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, errors.New("not an object")
	}
	for key := range members {
		for _, field := range fields {
			if key != field && strings.EqualFold(key, field) {
				return nil, fmt.Errorf("key %.64q is %q in another case", key, field)
			}
		}
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, errors.New("a field has the wrong type")
	}
	return members, nil
}

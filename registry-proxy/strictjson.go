package registryproxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxJSONDepth is far above any manifest (descriptors' platforms lie at 4) and keeps recursion flat.
const maxJSONDepth = 16

// maxJSONTokens is some three times what an index of [maxDescriptors] has. Decoded, a token may take a hundred times its size, so
// that a limit in bytes alone would not bound memory.
const maxJSONTokens = 128 << 10

// checkJSON refuses what two parsers may read differently (CVE-2021-41190 and its kin): bytes that are not UTF-8, a key
// twice in one object, trailing data, absurd nesting and numbers of members. Its errors say where, and quote nothing: they reach clients,
// and what is refused must not.
func checkJSON(untrusted []byte) error {
	if !utf8.Valid(untrusted) {
		return errors.New("not valid JSON: not UTF-8")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(untrusted))
	for range maxJSONTokens {
		if dec.StackDepth() > maxJSONDepth {
			return fmt.Errorf("nested deeper than %d", maxJSONDepth)
		}
		ended := dec.StackDepth() == 0 && dec.InputOffset() > 0
		switch _, err := dec.ReadToken(); {
		case ended && errors.Is(err, io.EOF):
			return nil
		case ended:
			return errors.New("data after the document's end")
		case errors.Is(err, jsontext.ErrDuplicateName):
			return fmt.Errorf("an object has one key twice, at byte %d", dec.InputOffset())
		case err != nil:
			return fmt.Errorf("not valid JSON at byte %d", dec.InputOffset())
		}
	}
	return fmt.Errorf("more than %d JSON tokens", maxJSONTokens)
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
				return nil, fmt.Errorf("a key is %q in another case", field)
			}
		}
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, errors.New("a field has the wrong type")
	}
	return members, nil
}

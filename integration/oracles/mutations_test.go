package oracles

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// mutation is one changed copy of a JSON document.
type mutation struct {
	path string // of the changed value: "tlogEntries[0].logIndex"
	what string // the kind of change
	text []byte
}

// flips is how many bits of a binary field are flipped, each in a copy of its own. Shorter fields have every byte hit.
const flips = 32

// mutations returns changed copies of a document, the same ones for the same documents and CAMPAIGN_SEED: each value dropped, emptied, nulled, changed in
// type, truncated, extended, bit-flipped and exchanged for the value at the same place in each donor; JSON inside of base64 likewise.
func mutations(tb testing.TB, document []byte, donors ...[]byte) []mutation {
	tb.Helper()
	m := mutator{tb: tb, random: rand.New(rand.NewPCG(campaignSeed(tb), 2))}
	root := m.parse(document)
	for _, d := range donors {
		m.donors = append(m.donors, m.parse(d))
	}
	m.walk(root, "", m.donors, func(changed any) []byte { return m.encode(changed) })
	return m.out
}

type mutator struct {
	tb     testing.TB
	random *rand.Rand
	donors []any
	out    []mutation
}

// dropped stands for "this value is left out".
type dropped struct{}

func (m *mutator) parse(document []byte) any {
	m.tb.Helper()
	value, err := parseJSON(document)
	if err != nil {
		m.tb.Fatal(err)
	}
	return value
}

func parseJSON(document []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}

func (m *mutator) encode(value any) []byte {
	m.tb.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		m.tb.Fatal(err)
	}
	return text
}

// walk changes value and everything below it; put builds the document in which value is replaced. donors are the values at the same place in other documents.
func (m *mutator) walk(value any, path string, donors []any, put func(any) []byte) {
	add := func(what string, changed any) {
		m.out = append(m.out, mutation{path, what, put(changed)})
	}
	if path != "" {
		add("dropped", dropped{})
		add("null", nil)
		add("other type", map[string]any{"x": 1})
	}
	for i, donor := range donors {
		if path == "" {
			break // the whole document of another is no tampering
		}
		if string(m.encode(donor)) != string(m.encode(value)) {
			add(fmt.Sprintf("from donor %d", i), donor)
		}
	}
	switch v := value.(type) {
	case map[string]any:
		m.object(v, path, donors, put, add)
	case []any:
		m.array(v, path, donors, put, add)
	case string:
		m.text(v, path, donors, put, add)
	case json.Number:
		for _, n := range []string{"0", "-1", "1", "9223372036854775807", v.String() + "1", v.String() + ".5"} {
			add("number", json.Number(n))
		}
	case bool:
		add("negated", !v)
	}
}

func (m *mutator) object(v map[string]any, path string, donors []any, put func(any) []byte, add func(string, any)) {
	for _, key := range slices.Sorted(maps.Keys(v)) {
		var below []any
		for _, d := range donors {
			if object, ok := d.(map[string]any); ok && object[key] != nil {
				below = append(below, object[key])
			}
		}
		m.walk(v[key], strings.TrimPrefix(path+"."+key, "."), below, func(changed any) []byte {
			object := maps.Clone(v)
			if object[key] = changed; changed == (any)(dropped{}) {
				delete(object, key)
			}
			return put(object)
		})
	}
	extended := maps.Clone(v)
	extended["x-unknown"] = json.Number("1")
	add("unknown field", extended)
	for _, d := range donors {
		if object, ok := d.(map[string]any); ok {
			merged := maps.Clone(object)
			maps.Copy(merged, v)
			add("with the donor's further fields", merged)
		}
	}
}

func (m *mutator) array(v []any, path string, donors []any, put func(any) []byte, add func(string, any)) {
	for i := range v {
		var below []any
		for _, d := range donors {
			if array, ok := d.([]any); ok && i < len(array) {
				below = append(below, array[i])
			}
		}
		m.walk(v[i], fmt.Sprintf("%s[%d]", path, i), below, func(changed any) []byte {
			array := slices.Clone(v)
			if array[i] = changed; changed == (any)(dropped{}) {
				array = slices.Delete(array, i, i+1)
			}
			return put(array)
		})
	}
	add("empty", []any{})
	if len(v) > 0 {
		add("first repeated", append(slices.Clone(v), v[0]))
		add("forty times the first", slices.Repeat(v[:1], 40))
	}
	if len(v) > 1 {
		backwards := slices.Clone(v)
		slices.Reverse(backwards)
		add("backwards", backwards)
	}
	for _, d := range donors {
		if array, ok := d.([]any); ok {
			add("donor's behind", append(slices.Clone(v), array...))
			add("donor's in front", append(slices.Clone(array), v...))
		}
	}
}

func (m *mutator) text(v, path string, donors []any, put func(any) []byte, add func(string, any)) {
	add("empty", "")
	add("space behind", v+" ")
	add("repeated", v+v)
	add("other case", strings.ToUpper(v))
	add("lower case", strings.ToLower(v))
	for range 4 {
		if v != "" {
			at := m.random.IntN(len(v))
			add("character changed", v[:at]+string(rune('!'+m.random.IntN(90)))+v[at+1:])
		}
	}
	for _, n := range []string{"0", "1", "-1", v + "0"} {
		add("number", n)
	}
	raw, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(raw) < 6 {
		return
	}
	m.binary(raw, path, donors, put, add)
}

// binary changes what a base64 text stands for.
func (m *mutator) binary(raw []byte, path string, donors []any, put func(any) []byte, add func(string, any)) {
	encode := base64.StdEncoding.EncodeToString
	add("one byte shorter", encode(raw[:len(raw)-1]))
	add("first byte gone", encode(raw[1:]))
	add("zero byte behind", encode(append(slices.Clone(raw), 0)))
	add("URL alphabet", base64.RawURLEncoding.EncodeToString(raw))
	add("zeroed", encode(make([]byte, len(raw))))
	for at := range raw {
		if len(raw) > flips && m.random.IntN(len(raw)) >= flips {
			continue
		}
		flipped := slices.Clone(raw)
		flipped[at] ^= 1 << m.random.IntN(8)
		add("bit flipped", encode(flipped))
	}
	inner, err := parseJSON(raw)
	if _, isObject := inner.(map[string]any); err != nil || !isObject {
		return
	}
	var below []any
	for _, d := range donors {
		if text, ok := d.(string); ok {
			if donorRaw, err := decode64(text); err == nil {
				if donor, err := parseJSON(donorRaw); err == nil {
					below = append(below, donor)
				}
			}
		}
	}
	add("spaces between", encode(append([]byte(" "), raw...)))
	m.walk(inner, path+" (JSON)", below, func(changed any) []byte { return put(encode(m.encode(changed))) })
}

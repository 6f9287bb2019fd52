package predicate

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// shape is what a predicate must hold.
type shape struct {
	members []member
	last    bool // no further alternative follows
}

// member is one value in a predicate.
type member struct {
	path   string // names with a slash between them
	kind   jsontext.Kind
	prefix string // of a string
}

const (
	text   = jsontext.Kind('"')
	object = jsontext.Kind('{')
	array  = jsontext.Kind('[')
)

// shapes are the alternatives for a predicate type: the members that the specification requires and without which readers fall over. They catch the wrong file given,
// not each mistake in it.
func shapes(uri string) []shape {
	switch uri {
	case SLSA02: // slsa.dev/spec/v0.2/provenance
		return []shape{{members: []member{{path: "builder/id", kind: text}, {path: "buildType", kind: text}}, last: true}}
	case SLSA1: // slsa.dev/spec/v1.0/provenance
		return []shape{{members: []member{{path: "buildDefinition/buildType", kind: text}, {path: "runDetails/builder/id", kind: text}}, last: true}}
	case SPDX: // 3 is JSON-LD, 2 is not
		return []shape{
			{members: []member{{path: "@graph", kind: array}}},
			{members: []member{{path: "spdxVersion", kind: text, prefix: "SPDX-"}}, last: true},
		}
	case CycloneDX:
		return []shape{{members: []member{{path: "bomFormat", kind: text, prefix: "CycloneDX"}, {path: "specVersion", kind: text}}, last: true}}
	case OpenVEX:
		return []shape{{members: []member{{path: "@context", kind: text, prefix: OpenVEX}, {path: "statements", kind: array}}, last: true}}
	case Vuln: // cosign, specs/COSIGN_VULN_ATTESTATION_SPEC.md
		return []shape{{members: []member{{path: "scanner/uri", kind: text}, {path: "metadata", kind: object}}, last: true}}
	case Link: // in-toto attestation framework, spec/predicates/link.md
		return []shape{{members: []member{{path: "name", kind: text}}, last: true}}
	}
	return nil
}

func (s shape) check(value jsontext.Value) error {
	for _, m := range s.members {
		if err := m.check(value); err != nil {
			return err
		}
	}
	return nil
}

func (m member) check(value jsontext.Value) error {
	for name := range strings.SplitSeq(m.path, "/") {
		var members map[string]jsontext.Value
		if value.Kind() != object {
			return fmt.Errorf("%s is missing", m.path)
		}
		if err := json.Unmarshal(value, &members); err != nil {
			return err
		}
		found, ok := members[name]
		if !ok {
			return fmt.Errorf("%s is missing", m.path)
		}
		value = found
	}
	if value.Kind() != m.kind {
		return fmt.Errorf("%s is of the wrong type", m.path)
	}
	if m.kind != text {
		return nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	if s == "" || !strings.HasPrefix(s, m.prefix) {
		return fmt.Errorf("%s is %.60q", m.path, s)
	}
	return nil
}

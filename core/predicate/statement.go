package predicate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxSize bounds a predicate, in bytes. In base64, with certificate and proofs, it still fits into the 8 MiB that verifiers read of a bundle.
const MaxSize = 5 << 20

// The versions of in-toto's statement.
const (
	statementV01 = "https://in-toto.io/Statement/v0.1"
	statementV1  = "https://in-toto.io/Statement/v1"
)

// Subject is what a statement is about.
type Subject struct {
	Name      string // the repository of an image or the name of a file; may be empty
	Algorithm string // of the digest: "sha256", "sha384" or "sha512"
	Digest    []byte
}

// statement is an in-toto statement, its members in the order of the specification.
type statement struct {
	Type          string         `json:"_type"`
	Subject       []subject      `json:"subject"`
	PredicateType string         `json:"predicateType"`
	Predicate     jsontext.Value `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// custom is what cosign makes of a predicate of its own type (its COSIGN_PREDICATE_SPEC): the file as a text.
type custom struct {
	Data      string `json:"Data"`
	Timestamp string `json:"Timestamp"`
}

// Statement makes the in-toto statement that says this predicate of this type (a URI, see [TypeURI]) of the subject, in JSON.
//
// The predicate has to be one JSON object without duplicate names, of at most [MaxSize] bytes, and, for the types with a short name, to have the members that
// its specification can't do without; it goes into the statement as it is, but for white space. A predicate of type [Custom] may be any UTF-8 text: as cosign does it, it becomes the
// member Data, beside the time. The statement is in-toto's v1; v0.1 for [SLSA02], [Vuln] and [Custom], which are specified for it.
func Statement(uri string, about Subject, predicate []byte, now time.Time) ([]byte, error) {
	if len(predicate) > MaxSize {
		return nil, fmt.Errorf("predicate: %d bytes, limit %d", len(predicate), MaxSize)
	}
	st := statement{
		Type: statementV1, PredicateType: uri,
		Subject: []subject{{Name: about.Name, Digest: map[string]string{about.Algorithm: hex.EncodeToString(about.Digest)}}},
	}
	switch uri {
	case SLSA02, Vuln, Custom:
		st.Type = statementV01
	}
	var err error
	if uri == Custom {
		st.Predicate, err = wrap(predicate, now)
	} else {
		st.Predicate, err = read(uri, predicate)
	}
	if err != nil {
		return nil, fmt.Errorf("predicate: %w", err)
	}
	out, err := json.Marshal(st, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encoding in-toto statement: %w", err)
	}
	return out, nil
}

func wrap(text []byte, now time.Time) (jsontext.Value, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("empty")
	}
	return json.Marshal(custom{Data: string(text), Timestamp: now.UTC().Format(time.RFC3339)})
}

// read checks a predicate and returns it without white space.
func read(uri string, text []byte) (jsontext.Value, error) {
	value := jsontext.Value(bytes.Clone(text))
	if err := value.Compact(); err != nil {
		hint := ""
		if uri == SPDX {
			hint = " (SPDX in its tag:value form has to be converted to JSON)"
		}
		return nil, fmt.Errorf("malformed JSON%s: %w", hint, err)
	}
	if value.Kind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	for _, alternative := range shapes(uri) {
		err := alternative.check(value)
		if err == nil {
			return value, nil
		}
		if alternative.last {
			return nil, fmt.Errorf("%s: %w", uri, err)
		}
	}
	return value, nil
}

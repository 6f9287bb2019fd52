package verify

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// Limits on in-toto statements, those of sigstore-go.
const (
	maxSubjects          = 1024
	maxDigestsPerSubject = 32
)

// statement is an in-toto statement. As its specification demands, unknown
// fields are ignored; duplicate fields are errors.
type statement struct {
	Type          string   `json:"_type"`
	Subject       subjects `json:"subject"`
	PredicateType string   `json:"predicateType"`
}

// subjects looks for a digest among those of a statement's subjects. They are
// counted and not kept: as values they would take many times their text's size.
type subjects struct {
	algorithm, want string // "sha256" and hexadecimal digits

	count   int
	matched bool   // want is the digest of a subject
	last    string // subject's digest that is of the algorithm
}

// parseStatement reads a statement and looks for an artifact in it.
func parseStatement(untrusted []byte, artifact Digest) (statement, error) {
	st := statement{Subject: subjects{algorithm: artifact.Algorithm, want: fmt.Sprintf("%x", artifact.Value)}}
	if err := jsonguard.CheckOpen(untrusted); err != nil {
		return statement{}, err
	}
	if err := json.Unmarshal(untrusted, &st, jsontext.AllowDuplicateNames(true)); err != nil {
		return statement{}, fmt.Errorf("malformed JSON: %w", err)
	}
	switch st.Type {
	case "https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1":
	default:
		return statement{}, fmt.Errorf("_type %q is not a statement of version 0.1 or 1", jsonguard.Excerpt(st.Type))
	}
	if st.Subject.count == 0 {
		return statement{}, errors.New("it has no subject")
	}
	return st, nil
}

// UnmarshalJSONFrom reads the list of subjects.
func (s *subjects) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	if err := expect(dec, '['); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if s.count++; s.count > maxSubjects {
			return fmt.Errorf("it has more than %d subjects", maxSubjects)
		}
		digests, err := s.readSubject(dec)
		if err != nil {
			return err
		}
		if digests == 0 || digests > maxDigestsPerSubject {
			return fmt.Errorf("subject %d has %d digests, want 1 to %d", s.count-1, digests, maxDigestsPerSubject)
		}
	}
	return expect(dec, ']')
}

// readSubject returns how many digests a subject has.
func (s *subjects) readSubject(dec *jsontext.Decoder) (digests int, err error) {
	if err := expect(dec, '{'); err != nil {
		return 0, err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return 0, err
		}
		if name.String() == "digest" {
			digests, err = s.readDigests(dec)
		} else {
			err = dec.SkipValue()
		}
		if err != nil {
			return 0, err
		}
	}
	return digests, expect(dec, '}')
}

func (s *subjects) readDigests(dec *jsontext.Decoder) (digests int, err error) {
	if err := expect(dec, '{'); err != nil {
		return 0, err
	}
	for ; dec.PeekKind() != '}'; digests++ {
		name, err := dec.ReadToken()
		if err != nil {
			return 0, err
		}
		wanted := name.String() == s.algorithm
		value, err := dec.ReadToken()
		if err != nil {
			return 0, err
		}
		if value.Kind() != '"' {
			return 0, errors.New("a subject's digest is not a string")
		}
		if wanted {
			s.last = jsonguard.Excerpt(value.String())
			s.matched = s.matched || s.last == s.want
		}
	}
	return digests, expect(dec, '}')
}

// expect reads a bracket.
func expect(dec *jsontext.Decoder, kind jsontext.Kind) error {
	token, err := dec.ReadToken()
	if err == nil && token.Kind() != kind {
		err = fmt.Errorf("found %s, want %s", token.Kind(), kind)
	}
	return err
}

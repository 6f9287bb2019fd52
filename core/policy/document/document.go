// Package document checks the JSON documents that predicates judge, before an interpreter sees them.
//
// Interpreters differ in what they make of unusual JSON: of two members of one name one interpreter takes the last and another merges them, and a number of
// a billion digits is one token to a parser and all memory to arithmetic. [Check] refuses what is unusual, so that a document means the same to every one.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a document. SBOMs of large images are shallow and have some millions of short tokens.
const (
	maxDepth  = 200 // interpreters recurse, and an attacker's document must not decide how deep
	maxNumber = 64  // bytes; the longest float64 has 24
)

// Check refuses a document that is larger than limit (in bytes), that is not exactly one JSON value in UTF-8, in which an object has two members of one
// name, that nests deeper than 200 levels, or with a number that no float64 comes near. Errors name the place by JSON Pointer.
func Check(untrusted []byte, limit int) error {
	if len(untrusted) > limit {
		return fmt.Errorf("reading document: it has %d bytes, the limit is %d", len(untrusted), limit)
	}
	dec := jsontext.NewDecoder(bytes.NewReader(untrusted)) // strict: no duplicate names, no invalid UTF-8
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return errors.New("reading document: it is empty")
		}
		if err != nil {
			return fmt.Errorf("reading document: %v", err)
		}
		if depth := dec.StackDepth(); depth > maxDepth {
			return fmt.Errorf("reading document: it nests deeper than %d levels", maxDepth)
		}
		if tok.Kind() == '0' {
			if err := checkNumber(tok.String()); err != nil {
				return fmt.Errorf("reading document: %q: %w", dec.StackPointer(), err)
			}
		}
		if dec.StackDepth() == 0 {
			break
		}
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("reading document: there is something behind its end")
	}
	return nil
}

// Short cuts a text at 500 bytes, for errors: values of a document are in what interpreters say about it.
func Short(untrusted string) string {
	const most = 500
	if len(untrusted) <= most {
		return strings.ToValidUTF8(untrusted, "\ufffd")
	}
	return strings.ToValidUTF8(untrusted[:most], "") + "..."
}

// checkNumber refuses numbers on which arbitrary precision would spend without bound.
func checkNumber(untrusted string) error {
	if len(untrusted) > maxNumber {
		return fmt.Errorf("number of %d characters, the limit is %d", len(untrusted), maxNumber)
	}
	if _, err := strconv.ParseFloat(untrusted, 64); err != nil {
		return fmt.Errorf("number %s is out of range", untrusted)
	}
	// ParseFloat rounds what is too small to zero without an error.
	if i := strings.IndexAny(untrusted, "eE"); i >= 0 {
		if exp, err := strconv.Atoi(untrusted[i+1:]); err != nil || exp < -400 || exp > 400 {
			return fmt.Errorf("number %s is out of range", untrusted)
		}
	}
	return nil
}

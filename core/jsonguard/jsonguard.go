// Package jsonguard looks JSON from outside over before anybody decodes it.
//
// Decoders build what they read: an array of a million empty objects is a
// megabyte of text, and a hundred of memory. [Check] reads the text once,
// builds nothing, and refuses what is too much, malformed, or written in two
// ways: a byte order mark, invalid UTF-8, a member that stands twice, a null in a
// list, trailing data, and bytes that are not in canonical base64. [CheckOpen]
// does so for texts of which parts are in a format that is not known. Errors
// say where; [Excerpt] is what they may repeat of a text.
//
// Decoders look for members that stand twice, too, but remember all names for
// that, up to fifteen times. A text that was checked can be decoded with
// jsontext.AllowDuplicateNames.
package jsonguard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxPlace bounds what an error repeats of the text, in bytes.
	maxPlace = 128
	// maxName bounds names, in bytes of text. Decoders keep several copies of each;
	// those of Sigstore's formats have up to 30.
	maxName = 256
	// maxOpenName bounds names of other formats: a file's path, say.
	maxOpenName = 8 << 10
	// maxDepth bounds how deep objects and lists lie in each other. Bundles have 8,
	// SBOMs a few dozen; a decoder takes 100 bytes and more for each.
	maxDepth = 256
	// maxElements bounds lists: an empty log entry is two bytes of text and 200 of
	// memory. Sigstore's formats allow 64 of anything.
	maxElements = 128
)

// limits are what a text is held against besides JSON's grammar.
type limits struct {
	tokens   int
	elements int // of a list
	name     int // bytes of text
	nulls    bool
	isBase64 func(name []byte) bool // nil if nothing is
}

// Check reads one JSON value and reports the first thing that is wrong with it.
// maxTokens bounds its names, values and brackets. isBase64 says of which
// members the value, or each element of it, is standard base64 (RFC 4648
// section 4) and must be canonical: padded, without line breaks, and
// with its unused bits zero. It must not keep the name.
func Check(untrustedJSON []byte, maxTokens int, isBase64 func(name []byte) bool) error {
	return check(untrustedJSON, limits{tokens: maxTokens, elements: maxElements, name: maxName, isBase64: isBase64})
}

// CheckOpen is [Check] for a text with parts in formats that are not known, such as
// the predicate of an attestation. Its tokens and elements are not counted, nulls may stand in lists,
// strings are not looked at, and names have up to 8 KiB.
func CheckOpen(untrustedJSON []byte) error {
	// Every token has a byte, and the end is looked for once more.
	return check(untrustedJSON, limits{tokens: len(untrustedJSON) + 2, elements: len(untrustedJSON), name: maxOpenName, nulls: true})
}

func check(untrustedJSON []byte, l limits) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(untrustedJSON), jsontext.AllowDuplicateNames(true))
	var seen names
	var name []byte
	binary := false // whether the last name is that of a base64 member
	for n := range l.tokens {
		kind := dec.PeekKind()
		if n > 0 && dec.StackDepth() == 0 {
			if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
				return errors.New("malformed JSON: trailing data")
			}
			return nil
		}
		var text jsontext.Value
		var err error
		if kind == '"' {
			text, err = dec.ReadValue()
		} else {
			_, err = dec.ReadToken()
		}
		if err != nil {
			return malformed(err)
		}
		within, count := dec.StackIndex(dec.StackDepth()) // of '{', within the object that it opens
		if within == '[' && count > int64(l.elements) {
			return fmt.Errorf("has a list of more than %d elements, at %s", l.elements, place(dec))
		}
		switch {
		case kind == '"' && within == '{' && count%2 == 1:
			if len(text) > l.name {
				return fmt.Errorf("has a name of %d bytes at %d, the limit is %d", len(text), dec.InputOffset(), l.name)
			}
			if name, err = jsontext.AppendUnquote(name[:0], text); err != nil {
				return malformed(err)
			}
			if err := seen.add(name); err != nil {
				return fmt.Errorf("malformed JSON: %w, at %s", err, place(dec))
			}
			binary = l.isBase64 != nil && l.isBase64(name)
		case kind == '"':
			if binary && !canonical(text) {
				return fmt.Errorf("malformed JSON: %s is not canonical base64", place(dec))
			}
		case dec.StackDepth() > maxDepth:
			return fmt.Errorf("malformed JSON: nested deeper than %d levels, at %s", maxDepth, place(dec))
		case kind == '{':
			seen.open()
		case kind == '}':
			if !seen.close() {
				return fmt.Errorf("malformed JSON: duplicate name in the object that ends at %d", dec.InputOffset())
			}
		case kind == 'n' && within == '[' && !l.nulls:
			// A decoder would make an empty element of it.
			return fmt.Errorf("malformed JSON: %s is a null in a list", place(dec))
		}
	}
	return fmt.Errorf("has more than %d JSON tokens, at %s", l.tokens, place(dec))
}

// maxExcerpt is longer than whatever an honest error is about: a URI, a digest.
const maxExcerpt = 256

// Excerpt is what an error or a verdict may repeat of a text from outside: the
// text, or if it is longer than 256 bytes, its beginning and "...".
func Excerpt(untrusted string) string {
	if len(untrusted) <= maxExcerpt {
		return untrusted
	}
	return strings.ToValidUTF8(untrusted[:maxExcerpt], "") + "..."
}

func malformed(err error) error {
	text := err.Error()
	return fmt.Errorf("malformed JSON: %s", text[:min(len(text), 4*maxPlace)])
}

// place is the JSON pointer of what was read last.
func place(dec *jsontext.Decoder) string {
	p := string(dec.StackPointer())
	if len(p) > maxPlace {
		return fmt.Sprintf("%q...", p[:maxPlace])
	}
	return fmt.Sprintf("%q", p)
}

// digits are the values of base64's digits, and notDigit for everything else: a
// table, because every byte of a bundle passes through it.
var digits = func() (table [256]byte) {
	for c := range table {
		table[c] = notDigit
	}
	for value, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[c] = byte(value)
	}
	return table
}()

const notDigit = 0x80

// canonical reports whether a JSON string holds canonical base64.
func canonical(text jsontext.Value) bool {
	s := []byte(text[1 : len(text)-1])
	if bytes.IndexByte(s, '\\') >= 0 {
		s, _ = jsontext.AppendUnquote(nil, text)
	}
	if len(s)%4 != 0 {
		return false
	}
	padded := len(s)
	s = bytes.TrimSuffix(bytes.TrimSuffix(s, []byte("=")), []byte("="))
	var all, last byte
	for _, c := range s {
		last = digits[c]
		all |= last
	}
	if all&notDigit != 0 {
		return false
	}
	unused := byte(0) // the bits of the last digit that stand for nothing
	switch padded - len(s) {
	case 1:
		unused = 0b11
	case 2:
		unused = 0b1111
	}
	return last&unused == 0
}

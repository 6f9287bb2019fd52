package pkcs11

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/touchmark/touchmark/core/keys"
)

// URI names a key on a token, RFC 7512: "pkcs11:token=acme;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so". At least one of token, serial and
// slot-id names the token, at least one of object and id the key. Attributes that aren't fields here are refused: an attribute that was ignored
// could have told two keys apart.
type URI struct {
	Token        string // CKA_LABEL of the token
	Manufacturer string
	Model        string
	Serial       string
	SlotID       *uint  // changes when devices are plugged in and out
	Object       string // CKA_LABEL of the key
	ID           []byte // CKA_ID of the key
	ModulePath   string // the token's driver, an absolute path
	pinValue     string
	pinSource    string // an absolute path
}

// ParseURI reads a URI. Its errors don't have the PIN in them.
func ParseURI(text string) (*URI, error) {
	u := &URI{}
	rest, ok := strings.CutPrefix(text, "pkcs11:")
	if !ok {
		return nil, errors.New("reading PKCS#11 URI: it doesn't begin with pkcs11:")
	}
	path, query, _ := strings.Cut(rest, "?")
	seen := map[string]bool{}
	if err := attributes(path, ";", seen, u.setPath); err != nil {
		return nil, fmt.Errorf("reading PKCS#11 URI: %w", err)
	}
	if err := attributes(query, "&", seen, u.setQuery); err != nil {
		return nil, fmt.Errorf("reading PKCS#11 URI: %w", err)
	}
	switch {
	case u.Token == "" && u.Serial == "" && u.SlotID == nil:
		return nil, errors.New("reading PKCS#11 URI: say which token with token=, serial= or slot-id=")
	case u.Object == "" && len(u.ID) == 0:
		return nil, errors.New("reading PKCS#11 URI: say which key with object= or id=")
	case u.pinValue != "" && u.pinSource != "":
		return nil, errors.New("reading PKCS#11 URI: it has both pin-value and pin-source")
	}
	return u, nil
}

func attributes(list, separator string, seen map[string]bool, set func(name, value string) error) error {
	if list == "" {
		return nil
	}
	for attribute := range strings.SplitSeq(list, separator) {
		name, escaped, ok := strings.Cut(attribute, "=")
		if !ok {
			return errors.New("an attribute has no \"=\"") // it may be a part of a PIN
		}
		if seen[name] {
			return fmt.Errorf("attribute %s is there twice", name)
		}
		seen[name] = true
		value, err := url.PathUnescape(escaped) // "+" is a plus sign
		if err != nil {
			return fmt.Errorf("attribute %s: wrong percent-encoding", name)
		}
		if value == "" {
			return fmt.Errorf("attribute %s is empty", name)
		}
		if err := set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (u *URI) setPath(name, value string) error {
	switch name {
	case "token":
		u.Token = value
	case "manufacturer":
		u.Manufacturer = value
	case "model":
		u.Model = value
	case "serial":
		u.Serial = value
	case "slot-id":
		id, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("slot-id %q is no number", value)
		}
		slot := uint(id)
		u.SlotID = &slot
	case "object":
		u.Object = value
	case "id":
		u.ID = []byte(value)
	case "type":
		if value != "private" && value != "public" { // the other half goes by the same name
			return fmt.Errorf("type %q is no key that can sign, want private", value)
		}
	default:
		return unknown(name)
	}
	return nil
}

func (u *URI) setQuery(name, value string) error {
	switch name {
	case "module-path":
		if !filepath.IsAbs(value) {
			return fmt.Errorf("module-path %q is not absolute", value)
		}
		u.ModulePath = value
	case "pin-value":
		u.pinValue = value
	case "pin-source":
		path := strings.TrimPrefix(strings.TrimPrefix(value, "file://"), "file:")
		if !filepath.IsAbs(path) {
			return errors.New("pin-source is no absolute path of a file")
		}
		u.pinSource = path
	default:
		return unknown(name)
	}
	return nil
}

func unknown(name string) error {
	if len(name) > 40 || strings.ContainsFunc(name, func(r rune) bool { return r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return errors.New("an attribute is not known")
	}
	return fmt.Errorf("attribute %s is not supported", name)
}

// pin is the URI's own, or given; nil if there is none.
func (u *URI) pin(given []byte) ([]byte, error) {
	switch {
	case u.pinValue != "":
		return []byte(u.pinValue), nil
	case u.pinSource != "":
		pin, err := keys.ReadSecret(u.pinSource)
		if err != nil {
			return nil, fmt.Errorf("reading PIN: %w", err)
		}
		return pin, nil
	}
	return given, nil
}

// tokenName names the token for people.
func (u *URI) tokenName() string {
	switch {
	case u.Token != "":
		return fmt.Sprintf("token %q", u.Token)
	case u.Serial != "":
		return fmt.Sprintf("token with serial number %q", u.Serial)
	}
	return fmt.Sprintf("token in slot %d", *u.SlotID)
}

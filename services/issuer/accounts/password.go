package accounts

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// What new passwords are kept with: OWASP's password storage cheat sheet, second of its equivalent choices for Argon2id.
const (
	memoryKiB = 19 << 10
	passes    = 2
	lanes     = 1
	saltSize  = 16
	hashSize  = 32
)

// Limits of what is read from the file: whoever can write it must not be able to make a login take minutes or all memory.
const (
	maxMemoryKiB = 256 << 10
	maxPasses    = 16
)

// password is an Argon2id hash with all that is needed to make it again.
type password struct {
	Algorithm string `json:"algorithm"` // "argon2id"
	MemoryKiB uint32 `json:"memoryKiB"`
	Passes    uint32 `json:"passes"`
	Lanes     uint8  `json:"lanes"`
	Salt      []byte `json:"salt"`
	Hash      []byte `json:"hash"`
}

// newPassword keeps a password that may be used.
func newPassword(plain string) (password, error) {
	switch {
	case len(plain) < MinPassword:
		return password{}, fmt.Errorf("password of %d bytes, at least %d are needed: %w", len(plain), MinPassword, ErrInput)
	case len(plain) > MaxPassword:
		return password{}, fmt.Errorf("password of %d bytes, at most %d are allowed: %w", len(plain), MaxPassword, ErrInput)
	case !utf8.ValidString(plain) || strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f }):
		// A browser's form would not send these bytes unchanged.
		return password{}, fmt.Errorf("password with control characters or bytes that are not UTF-8: %w", ErrInput)
	}
	p := newSalt()
	p.Hash = p.derive(plain, hashSize)
	return p, nil
}

// newDecoy is a password that nobody has: it costs what others cost, and matches nothing.
func newDecoy() password {
	p := newSalt()
	p.Hash = make([]byte, hashSize)
	rand.Read(p.Hash)
	return p
}

func newSalt() password {
	p := password{Algorithm: "argon2id", MemoryKiB: memoryKiB, Passes: passes, Lanes: lanes, Salt: make([]byte, saltSize)}
	rand.Read(p.Salt) // never fails, by its documentation
	return p
}

func (p password) derive(plain string, size int) []byte {
	return argon2.IDKey([]byte(plain), p.Salt, p.Passes, p.MemoryKiB, p.Lanes, uint32(size))
}

func (p password) matches(plain string) bool {
	return subtle.ConstantTimeCompare(p.derive(plain, len(p.Hash)), p.Hash) == 1
}

func (p password) check() error {
	switch {
	case p.Algorithm != "argon2id":
		return fmt.Errorf("algorithm %.32q is not known", p.Algorithm)
	case p.MemoryKiB < 8 || p.MemoryKiB > maxMemoryKiB || p.Passes < 1 || p.Passes > maxPasses || p.Lanes < 1:
		return errors.New("memoryKiB, passes or lanes is out of range")
	case len(p.Salt) < 8 || len(p.Salt) > 64 || len(p.Hash) < 16 || len(p.Hash) > 64:
		return errors.New("salt or hash has a length that is out of range")
	}
	return nil
}

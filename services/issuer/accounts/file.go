package accounts

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/services/internal/durable"
)

const (
	// schema is the version of the file that this program reads and writes.
	schema = 1

	// maxFile bounds the file: some ten thousand accounts.
	maxFile = 8 << 20
)

// file is what is in the file.
type file struct {
	Schema  int      `json:"schema"`
	Users   []User   `json:"users"`
	Clients []Client `json:"clients"`
}

// user finds a person, whatever the letter case of the address; -1 is none.
func (f *file) user(email string) int {
	if CheckAddress(email) != nil { // outside ASCII there are letters that only look equal when case is folded
		return -1
	}
	for i := range f.Users {
		if strings.EqualFold(f.Users[i].Email, email) {
			return i
		}
	}
	return -1
}

// client finds a client; -1 is none.
func (f *file) client(name string) int {
	for i := range f.Clients {
		if f.Clients[i].Name == name {
			return i
		}
	}
	return -1
}

// check holds everything in the file to what would be written to it.
func (f *file) check() error {
	if f.Schema != schema {
		return fmt.Errorf("schema is %d, this program knows %d", f.Schema, schema)
	}
	seen := map[string]bool{}
	for i, u := range f.Users {
		if err := CheckAddress(u.Email); err != nil {
			return fmt.Errorf("users[%d]: %w", i, err)
		}
		if err := u.Password.check(); err != nil {
			return fmt.Errorf("users[%d]: password: %w", i, err)
		}
		if seen[strings.ToLower(u.Email)] {
			return fmt.Errorf("users[%d]: %s occurs twice", i, u.Email)
		}
		seen[strings.ToLower(u.Email)] = true
	}
	for i, c := range f.Clients {
		if err := checkName(c.Name); err != nil {
			return fmt.Errorf("clients[%d]: %w", i, err)
		}
		if len(c.Secret) != sha256.Size {
			return fmt.Errorf("clients[%d]: secretSHA256 is not a SHA-256 digest", i)
		}
		if seen[c.Name] { // which holds an @ if it is a person's
			return fmt.Errorf("clients[%d]: %s occurs twice", i, c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// read reads the file. One that does not exist has no accounts.
func (s *Store) read() (file, error) {
	opened, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return file{Schema: schema}, nil
	}
	if err != nil {
		return file{}, fmt.Errorf("reading accounts: %w", err)
	}
	defer func() { _ = opened.Close() }()
	info, err := opened.Stat()
	if err != nil {
		return file{}, fmt.Errorf("reading accounts: %w", err)
	}
	if !info.Mode().IsRegular() {
		return file{}, fmt.Errorf("reading accounts: %s is not a regular file", s.path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return file{}, fmt.Errorf("reading accounts: others can read or write %s (mode %04o): chmod 600 it", s.path, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(opened, maxFile+1))
	if err != nil {
		return file{}, fmt.Errorf("reading accounts: %w", err)
	}
	if len(content) > maxFile {
		return file{}, fmt.Errorf("reading accounts: %s has more than %d bytes", s.path, maxFile)
	}
	var f file
	if err := json.Unmarshal(content, &f, json.RejectUnknownMembers(true)); err != nil {
		return file{}, fmt.Errorf("reading accounts: %s: %w", s.path, err)
	}
	if err := f.check(); err != nil {
		return file{}, fmt.Errorf("reading accounts: %s: %w", s.path, err)
	}
	return f, nil
}

// change reads the file, alters it and writes it, while no other process does. If alter returns an error, nothing is written.
func (s *Store) change(alter func(*file) error) error {
	lock, err := os.OpenFile(s.path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("locking accounts: %w", err)
	}
	defer func() { _ = lock.Close() }() // which ends the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking accounts: %s: %w", lock.Name(), err)
	}
	f, err := s.read()
	if err != nil {
		return err
	}
	if err := alter(&f); err != nil {
		return err
	}
	content, err := json.Marshal(f, jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("encoding accounts: %w", err)
	}
	if len(content) >= maxFile {
		return fmt.Errorf("writing accounts: %s would have more than %d bytes", s.path, maxFile)
	}
	return durable.WriteFile(s.path, append(content, '\n'), 0o600)
}

// Package accounts keeps who may sign in to the issuer: people with passwords, and machines ("clients") with secrets.
//
//	store, err := accounts.Open(filepath.Join(dir, accounts.FileName), "https://sigstore.acme.example")
//	err = store.AddUser("alice@acme.example", password, time.Now())
//	address, err := store.CheckPassword(ctx, "alice@acme.example", password)
//
// Everything is in one JSON file, which only its owner may read (0600) and which is always whole. It is read anew for each question, so that what one
// process changes, a command say, another one sees at once. It has some hundred bytes for each account.
//
// Passwords are kept as Argon2id (RFC 9106) with the parameters that OWASP recommends: 19 MiB, two passes. Secrets of clients are 256 random bits that this
// package makes, so a plain SHA-256 keeps them as well as anything would.
//
// A question about an account that does not exist costs what one about an account that does costs, and gets the same answer: [ErrCredentials].
package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// FileName is the name of the file in a data directory.
	FileName = "users.json"

	// MinPassword and MaxPassword bound a password, in bytes. The first is what makes guessing through a rate limit hopeless; the second bounds the work.
	MinPassword = 12
	MaxPassword = 256

	// maxAddress is the longest e-mail address that can be written in SMTP (RFC 5321 section 4.5.3.1.3, less the brackets).
	maxAddress = 254

	// maxName bounds the name of a client, which becomes the local part of an address: 64 bytes by RFC 5321 section 4.5.3.1.1.
	maxName = 64

	// publicClient is the client identifier that people's programs share; no machine may have it.
	publicClient = "sigstore"

	// secretBytes is the entropy of a client's secret.
	secretBytes = 32
)

var (
	// ErrCredentials says that an account does not exist or that its password or secret is another one; nobody is told which.
	ErrCredentials = errors.New("the account or the password is wrong")

	// ErrUnknown is wrapped by errors about accounts that do not exist, for those who administer them.
	ErrUnknown = errors.New("no such account")

	// ErrExists is wrapped by errors about accounts that exist already.
	ErrExists = errors.New("exists already")

	// ErrInput is wrapped by errors about an address, a name or a password that cannot be used.
	ErrInput = errors.New("cannot be used")
)

// User is a person. The address is taken as verified: whoever adds a user vouches for it.
type User struct {
	Email    string    `json:"email"`
	Password password  `json:"password"`
	Created  time.Time `json:"created"`
}

// Client is a machine.
type Client struct {
	Name    string    `json:"name"`
	Secret  []byte    `json:"secretSHA256"`
	Created time.Time `json:"created"`
}

// Store is the file of accounts. It is safe for concurrent use, by several processes too.
type Store struct {
	path   string
	domain string        // of the addresses of clients
	decoy  password      // verified in the place of one that does not exist
	slots  chan struct{} // bounds the memory for passwords that are verified at the same time
}

// Open returns the accounts in a file, which need not exist yet. The issuer's URL gives clients' addresses their domain. A file that is there must be
// readable, or Open says what is wrong with it.
func Open(path, issuerURL string) (*Store, error) {
	u, err := url.Parse(issuerURL)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("opening accounts: issuer %q is not a URL", issuerURL)
	}
	// At most four times 19 MiB at any moment, whatever the number of those who sign in or try to.
	s := &Store{path: path, domain: machineDomain(u.Hostname()), decoy: newDecoy(), slots: make(chan struct{}, 4)}
	if _, err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// machineDomain is the domain of clients' addresses: "clients." before the issuer's host. No mail is sent there; it keeps the addresses of machines apart
// from those of people. The colons of an IPv6 address, which no domain may have, become hyphens.
func machineDomain(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		host = strings.ReplaceAll(host, ":", "-")
		host = strings.Trim(host, "-")
	}
	return "clients." + host
}

// ClientAddress is the e-mail address that stands for a client in tokens and certificates, as in ci@clients.sigstore.acme.example.
func (s *Store) ClientAddress(name string) string { return name + "@" + s.domain }

// Users returns all people, by address.
func (s *Store) Users() ([]User, error) {
	f, err := s.read()
	return f.Users, err
}

// Clients returns all clients, by name.
func (s *Store) Clients() ([]Client, error) {
	f, err := s.read()
	return f.Clients, err
}

// HasUser reports whether a person may still sign in.
func (s *Store) HasUser(email string) (bool, error) {
	f, err := s.read()
	return f.user(email) >= 0, err
}

// HasClient reports whether a client exists.
func (s *Store) HasClient(name string) (bool, error) {
	f, err := s.read()
	return f.client(name) >= 0, err
}

// CheckPassword returns a person's address, as it was added, if the password is theirs, and otherwise [ErrCredentials] or why the accounts could not be
// read. Letter case in the address does not matter.
func (s *Store) CheckPassword(ctx context.Context, email, plain string) (string, error) {
	if CheckAddress(email) != nil {
		return "", ErrCredentials // at once: everybody can tell that this is no account
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if len(plain) > MaxPassword {
		plain = plain[:MaxPassword+1] // which no account has
	}
	f, err := s.read() // in the slot: as many copies of the file at most
	if err != nil {
		return "", err
	}
	i := f.user(email)
	if i < 0 {
		s.decoy.matches(plain)
		return "", ErrCredentials
	}
	if !f.Users[i].Password.matches(plain) {
		return "", ErrCredentials
	}
	return f.Users[i].Email, nil
}

// CheckSecret is nil if the secret is the client's, and otherwise [ErrCredentials] or why the accounts could not be read.
func (s *Store) CheckSecret(name, secret string) error {
	f, err := s.read()
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(strings.TrimRight(secret, "\r\n"))) // it comes from a file, which ends with a line break
	i := f.client(name)
	expected := make([]byte, sha256.Size)
	if i >= 0 {
		expected = f.Clients[i].Secret
	}
	if subtle.ConstantTimeCompare(digest[:], expected) != 1 || i < 0 {
		return ErrCredentials
	}
	return nil
}

// AddUser adds a person.
func (s *Store) AddUser(email, plain string, now time.Time) error {
	if err := CheckAddress(email); err != nil {
		return fmt.Errorf("adding user: %w", err)
	}
	if _, domain, _ := strings.Cut(email, "@"); strings.EqualFold(domain, s.domain) {
		return fmt.Errorf("adding user: %s: addresses at %s belong to clients: %w", email, s.domain, ErrInput)
	}
	made, err := newPassword(plain)
	if err != nil {
		return fmt.Errorf("adding user: %w", err)
	}
	return s.change(func(f *file) error {
		if i := f.user(email); i >= 0 {
			return fmt.Errorf("adding user: %s %w", f.Users[i].Email, ErrExists)
		}
		f.Users = append(f.Users, User{Email: email, Password: made, Created: now.UTC().Truncate(time.Second)})
		slices.SortFunc(f.Users, func(a, b User) int { return strings.Compare(a.Email, b.Email) })
		return nil
	})
}

// SetPassword gives a person another password.
func (s *Store) SetPassword(email, plain string) error {
	made, err := newPassword(plain)
	if err != nil {
		return fmt.Errorf("setting password: %w", err)
	}
	return s.change(func(f *file) error {
		i := f.user(email)
		if i < 0 {
			return fmt.Errorf("setting password: %.254q: %w", email, ErrUnknown)
		}
		f.Users[i].Password = made
		return nil
	})
}

// RemoveUser removes a person. What they are signing in to at this moment fails.
func (s *Store) RemoveUser(email string) error {
	return s.change(func(f *file) error {
		i := f.user(email)
		if i < 0 {
			return fmt.Errorf("removing user: %.254q: %w", email, ErrUnknown)
		}
		f.Users = slices.Delete(f.Users, i, i+1)
		return nil
	})
}

// AddClient adds a client and returns its secret, which nobody can find out again.
func (s *Store) AddClient(name string, now time.Time) (string, error) {
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("adding client: %w", err)
	}
	if err := CheckAddress(s.ClientAddress(name)); err != nil {
		return "", fmt.Errorf("adding client: %w", err)
	}
	random := make([]byte, secretBytes)
	rand.Read(random) // never fails, by its documentation
	secret := base64.RawURLEncoding.EncodeToString(random)
	digest := sha256.Sum256([]byte(secret))
	err := s.change(func(f *file) error {
		if f.client(name) >= 0 {
			return fmt.Errorf("adding client: %s %w", name, ErrExists)
		}
		f.Clients = append(f.Clients, Client{Name: name, Secret: digest[:], Created: now.UTC().Truncate(time.Second)})
		slices.SortFunc(f.Clients, func(a, b Client) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// RemoveClient removes a client.
func (s *Store) RemoveClient(name string) error {
	return s.change(func(f *file) error {
		i := f.client(name)
		if i < 0 {
			return fmt.Errorf("removing client: %.64q: %w", name, ErrUnknown)
		}
		f.Clients = slices.Delete(f.Clients, i, i+1)
		return nil
	})
}

// CheckAddress accepts an e-mail address that net/mail reads and would write in the very same bytes: no display name, no comment, no quoting, nothing that two
// readers of a certificate could read differently. Its errors wrap [ErrInput].
func CheckAddress(address string) error {
	if len(address) > maxAddress {
		return fmt.Errorf("address of %d bytes, at most %d are allowed: %w", len(address), maxAddress, ErrInput)
	}
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		return fmt.Errorf("address %q must be printable ASCII without spaces and quotes: %w", address, ErrInput)
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Name != "" || parsed.Address != address {
		return fmt.Errorf("address %q is not a plain e-mail address such as alice@acme.example: %w", address, ErrInput)
	}
	return nil
}

// checkName accepts what is a client identifier and the local part of an address in one spelling only.
func checkName(name string) error {
	if name == publicClient {
		return fmt.Errorf("name %q is the one that people's programs use: %w", name, ErrInput)
	}
	outside := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", r) }
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, outside) {
		return fmt.Errorf("name %.64q must be 1 to %d lower-case letters, digits, hyphens and underscores: %w", name, maxName, ErrInput)
	}
	return nil
}

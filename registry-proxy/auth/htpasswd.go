package auth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxHtpasswd bounds the file, in bytes: some ten thousand users.
	maxHtpasswd = 1 << 20
	// maxCost is the dearest hash that is taken: above it one login takes seconds of a processor.
	maxCost = 14
	// maxPassword is what bcrypt reads of a password.
	maxPassword = 72
	// maxProven bounds the memory of passwords that were right.
	maxProven = 4096
)

// users are the names and hashes of an htpasswd file.
type users struct {
	hashes map[string][]byte
	absent []byte // is compared where there is no such user, so that names cannot be told apart by time
	*logins
}

// logins is what outlives a change of the file: who waits, and who was right.
type logins struct {
	turns   *turns
	flights singleflight.Group // of the same credentials from the same address
	compare func(hash, password []byte) error

	// proven has a keyed digest of each line and password that was right: a pull has dozens of requests, and bcrypt takes
	// longer than all of them. A line that has changed, or is gone, has another digest, or none.
	key    [32]byte
	mu     sync.Mutex
	proven map[[sha256.Size]byte]bool
}

func newLogins() *logins {
	l := &logins{turns: newTurns(), compare: bcrypt.CompareHashAndPassword, proven: map[[sha256.Size]byte]bool{}}
	_, _ = rand.Read(l.key[:]) // never fails
	return l
}

// loadUsers reads a file of lines NAME:HASH. What known has of lines that are still there remains.
func loadUsers(file string, known *logins) (*users, error) {
	data, err := configfile.Read(file, maxHtpasswd)
	if err != nil {
		return nil, fmt.Errorf("htpasswd: %w", err)
	}
	u := &users{hashes: map[string][]byte{}, logins: known}
	cost := bcrypt.MinCost
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		c, err := bcrypt.Cost([]byte(hash))
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("htpasswd: %s:%d: is not NAME:HASH", file, n)
		case err != nil:
			return nil, fmt.Errorf("htpasswd: %s:%d: the hash of %q is not bcrypt's: make it with \"htpasswd -B\"", file, n, name)
		case c > maxCost:
			return nil, fmt.Errorf("htpasswd: %s:%d: the hash of %q has cost %d, above %d: every login would take seconds", file, n, name, c, maxCost)
		case u.hashes[name] != nil:
			return nil, fmt.Errorf("htpasswd: %s:%d: %q stands twice", file, n, name)
		}
		u.hashes[name] = []byte(hash)
		cost = max(cost, c)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("htpasswd: %s: %w", file, err)
	}
	if u.absent, err = bcrypt.GenerateFromPassword(u.key[:], cost); err != nil {
		return nil, fmt.Errorf("htpasswd: %w", err)
	}
	return u, nil
}

// check returns nil if a password is the user's. The error wraps [ErrCredentials], [ErrTooMany] or [ErrUnavailable].
func (u *users) check(ctx context.Context, from netip.Prefix, name, password string) error {
	if len(password) == 0 || len(password) > maxPassword || len(name) > maxName {
		return ErrCredentials
	}
	hash, ok := u.hashes[name]
	sum := u.digest(name, hash, password)
	u.mu.Lock()
	known := u.proven[sum]
	u.mu.Unlock()
	if known {
		return nil
	}
	if !ok {
		hash = u.absent
	}
	// A node that starts logs in with the same credentials for all its containers at once: one comparison is enough for them.
	result := u.flights.DoChan(from.String()+string(sum[:]), func() (any, error) {
		if err := u.turns.take(from); err != nil {
			return nil, err
		}
		defer u.turns.done()
		if u.compare(hash, []byte(password)) != nil || !ok {
			return nil, ErrCredentials
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if len(u.proven) >= maxProven {
			clear(u.proven)
		}
		u.proven[sum] = true
		return nil, nil
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("%w: the request was given up", ErrUnavailable)
	}
}

// digest tells a line of the file and a password from all others, to this process.
func (l *logins) digest(name string, hash []byte, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, l.key[:])
	fmt.Fprintf(mac, "%d %s%d %s%s", len(name), name, len(hash), hash, password)
	return [sha256.Size]byte(mac.Sum(nil))
}

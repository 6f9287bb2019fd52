package auth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

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
	absent []byte        // is compared where there is no such user, so that names cannot be told apart by time
	turns  chan struct{} // bcrypt is meant to be slow: wrong passwords must not take every processor

	// proven has a keyed digest of each name and password that was right: a pull has dozens of requests, and bcrypt takes
	// longer than all of them.
	key    [32]byte
	mu     sync.Mutex
	proven map[[sha256.Size]byte]bool
}

// loadUsers reads a file of lines NAME:HASH.
func loadUsers(file string) (*users, error) {
	data, err := configfile.Read(file, maxHtpasswd)
	if err != nil {
		return nil, fmt.Errorf("htpasswd: %w", err)
	}
	u := &users{hashes: map[string][]byte{}, turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), proven: map[[sha256.Size]byte]bool{}}
	_, _ = rand.Read(u.key[:]) // never fails
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

// check reports whether a password is the user's.
func (u *users) check(ctx context.Context, name, password string) bool {
	if len(password) == 0 || len(password) > maxPassword || len(name) > maxName {
		return false
	}
	mac := hmac.New(sha256.New, u.key[:])
	fmt.Fprintf(mac, "%d %s%s", len(name), name, password)
	sum := [sha256.Size]byte(mac.Sum(nil))
	u.mu.Lock()
	known := u.proven[sum]
	u.mu.Unlock()
	if known {
		return true
	}
	select {
	case u.turns <- struct{}{}:
		defer func() { <-u.turns }()
	case <-ctx.Done():
		return false
	}
	hash, ok := u.hashes[name]
	if !ok {
		hash = u.absent
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !ok {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.proven) >= maxProven {
		clear(u.proven)
	}
	u.proven[sum] = true
	return true
}

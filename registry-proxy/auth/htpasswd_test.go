package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/bcrypt"
)

// file is an htpasswd file whose passwords are the users' names.
type file struct {
	path    string
	clients *Clients
	hashes  atomic.Int64 // comparisons that have begun
}

func newFile(t *testing.T, lines ...string) *file {
	t.Helper()
	f := &file{path: filepath.Join(t.TempDir(), "users")}
	f.renew(t, lines...)
	compare := f.clients.logins.compare
	f.clients.logins.compare = func(hash, password []byte) error {
		f.hashes.Add(1)
		return compare(hash, password)
	}
	return f
}

// wantIdle demands that nobody has a turn, or waits for one, and that nothing is left of those who did.
func (q *turns) wantIdle(t *testing.T, free int) {
	t.Helper()
	if q.free != free || q.waiting != 0 || len(q.lanes) != 0 || len(q.order) != 0 {
		t.Errorf("left over: %+v", q)
	}
}

// halt has every comparison wait until the gate is closed.
func (f *file) halt() (gate chan struct{}) {
	gate = make(chan struct{})
	compare := f.clients.logins.compare
	f.clients.logins.compare = func(hash, password []byte) error {
		<-gate
		return compare(hash, password)
	}
	return gate
}

// renew writes the file anew, and reads it.
func (f *file) renew(t *testing.T, lines ...string) {
	t.Helper()
	if err := os.WriteFile(f.path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	clients, err := Renew(f.clients, Config{Htpasswd: f.path})
	if err != nil {
		t.Fatal(err)
	}
	f.clients = clients
}

func (f *file) login(ctx context.Context, address, name, password string) error {
	r := httptest.NewRequestWithContext(ctx, "GET", "/v2/", nil)
	r.RemoteAddr = address
	r.SetBasicAuth(name, password)
	_, err := f.clients.Identify(r)
	return err
}

func line(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + string(hash)
}

// PX-27: whoever tries passwords holds up logins from elsewhere by one comparison for each that runs already, and one more.
func TestPX27_WrongPasswordsHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile(t, line(t, "alice", "right"))
		turns, step := f.clients.logins.turns.free, make(chan struct{})
		compare := f.clients.logins.compare
		f.clients.logins.compare = func(hash, password []byte) error {
			err := compare(hash, password)
			<-step
			return err
		}
		var group sync.WaitGroup
		var wrong, many atomic.Int64
		for i := range 200 {
			group.Go(func() {
				switch err := f.login(t.Context(), "192.0.2.1:1234", "alice", fmt.Sprint("wrong", i)); {
				case errors.Is(err, ErrTooMany):
					many.Add(1)
				case errors.Is(err, ErrCredentials):
					wrong.Add(1)
				default:
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		if got := many.Load(); got != int64(200-turns-maxWaitingFrom) {
			t.Errorf("%d were sent away, with %d turns and %d places", got, turns, maxWaitingFrom)
		}
		var admitted atomic.Bool
		group.Go(func() {
			if err := f.login(t.Context(), "192.0.2.2:1234", "alice", "right"); err != nil {
				t.Error(err)
			}
			admitted.Store(true)
		})
		synctest.Wait()
		for range turns + 2 {
			step <- struct{}{}
			synctest.Wait()
		}
		if !admitted.Load() {
			t.Errorf("the right login still waits after %d comparisons", turns+2)
		}
		close(step)
		group.Wait()
		if wrong.Load()+many.Load() != 200 {
			t.Errorf("%d wrong, %d sent away", wrong.Load(), many.Load())
		}
		if err := f.login(t.Context(), "192.0.2.1:1234", "alice", "right"); err != nil {
			t.Errorf("afterwards, from the first address: %v", err)
		}
	})
}

// PX-27: those who come from many addresses are bounded, too, and nothing is lost when all are gone.
func TestPX27_WrongPasswordsFromEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile(t, line(t, "alice", "right"))
		turns, gate := f.clients.logins.turns, f.halt()
		free := turns.free
		var group sync.WaitGroup
		var full atomic.Int64
		login := func(ctx context.Context, i int) {
			group.Go(func() {
				if err := f.login(ctx, fmt.Sprintf("192.0.%d.%d:1", i/200, i%200), "alice", fmt.Sprint("wrong", i)); errors.Is(err, ErrUnavailable) {
					full.Add(1)
				}
			})
		}
		const extra = 10
		for i := range free + maxWaiting + extra {
			login(t.Context(), i)
		}
		synctest.Wait()
		if full.Load() != extra {
			t.Errorf("%d found no place, want %d", full.Load(), extra)
		}
		close(gate)
		group.Wait()
		synctest.Wait()
		turns.wantIdle(t, free)
	})
}

// PX-27: a few addresses cannot take all places: who comes from another gets one of theirs.
func TestPX27_WrongPasswordsFromAFewAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile(t, line(t, "alice", "right"))
		turns, gate := f.clients.logins.turns, f.halt()
		free := turns.free
		var group sync.WaitGroup
		var full, many atomic.Int64
		wrong := func(i, address int) {
			group.Go(func() {
				switch err := f.login(t.Context(), fmt.Sprintf("192.0.2.%d:1", address), "alice", fmt.Sprint("wrong", i)); {
				case errors.Is(err, ErrUnavailable):
					full.Add(1)
				case errors.Is(err, ErrTooMany):
					many.Add(1)
				}
			})
			synctest.Wait()
		}
		const addresses = maxWaiting / maxWaitingFrom
		for i := range free + maxWaiting {
			wrong(i, max(0, i-free)%addresses)
		}
		if full.Load()+many.Load() != 0 || turns.waiting != maxWaiting {
			t.Fatalf("%d wait, %d and %d were sent away", turns.waiting, full.Load(), many.Load())
		}
		right := make(chan error, 1)
		group.Go(func() { right <- f.login(t.Context(), "198.51.100.7:1", "alice", "right") })
		synctest.Wait()
		if full.Load() != 1 || turns.waiting != maxWaiting {
			t.Errorf("%d were sent away for one from elsewhere, %d wait", full.Load(), turns.waiting)
		}
		wrong(9998, 1) // its lane is full, or one shorter than the others
		wrong(9999, 1)
		if sent := full.Load() + many.Load(); sent < 2 || turns.waiting != maxWaiting {
			t.Errorf("%d were sent away, %d wait", sent, turns.waiting)
		}
		close(gate)
		if err := <-right; err != nil {
			t.Errorf("the right login: %v", err)
		}
		group.Wait()
		synctest.Wait()
		turns.wantIdle(t, free)
	})
}

// Somebody who gives up waits no longer, and is not told that the password is wrong.
func TestLoginIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile(t, line(t, "alice", "right"))
		gate := make(chan struct{})
		f.clients.logins.compare = func([]byte, []byte) error { <-gate; return nil }
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan error, 1)
		go func() { answered <- f.login(ctx, "192.0.2.1:1", "alice", "right") }()
		synctest.Wait()
		cancel()
		if err := <-answered; !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		close(gate)
	})
}

// All containers of a node that starts have the same credentials.
func TestSameCredentialsAreComparedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile(t, line(t, "alice", "right"))
		gate := make(chan struct{})
		compare := f.clients.logins.compare
		f.clients.logins.compare = func(hash, password []byte) error {
			<-gate
			return compare(hash, password)
		}
		var group sync.WaitGroup
		for i := range 200 {
			password := []string{"right", "wrong"}[i%2]
			group.Go(func() {
				if err := f.login(t.Context(), "192.0.2.1:1", "alice", password); (err == nil) != (password == "right") {
					t.Errorf("%s: %v", password, err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		group.Wait()
		if f.hashes.Load() != 2 {
			t.Errorf("%d comparisons", f.hashes.Load())
		}
	})
}

// OPS-04: a changed file takes rights away at once, and forgets nobody whose line is as before.
func TestOPS04_RenewedUsers(t *testing.T) {
	alice, bob := line(t, "alice", "right"), line(t, "bob", "right")
	f := newFile(t, alice, bob)
	want := func(step, name, password string, admitted bool, hashes int64) {
		t.Helper()
		before := f.hashes.Load()
		if err := f.login(t.Context(), "192.0.2.1:1", name, password); (err == nil) != admitted {
			t.Errorf("%s: %s with %s: %v", step, name, password, err)
		}
		if got := f.hashes.Load() - before; got != hashes {
			t.Errorf("%s: %s with %s: %d comparisons, want %d", step, name, password, got, hashes)
		}
	}
	want("first", "alice", "right", true, 1)
	want("first", "bob", "right", true, 1)
	want("again", "alice", "right", true, 0)
	f.renew(t, "# changed", bob, alice, line(t, "carol", "right"))
	want("other lines changed", "alice", "right", true, 0)
	want("other lines changed", "bob", "right", true, 0)
	want("other lines changed", "carol", "right", true, 1)
	f.renew(t, line(t, "alice", "new"))
	want("password changed", "alice", "right", false, 1)
	want("password changed", "alice", "new", true, 1)
	want("line gone", "bob", "right", false, 1)
	f.renew(t, strings.Replace(alice, "alice", "bob", 1))
	want("another's hash", "bob", "right", true, 1)
	want("another's hash", "alice", "right", false, 1)
}

func TestOrigin(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:80":           "192.0.2.1/32",
		"[::ffff:192.0.2.1]:80":  "192.0.2.1/32",
		"[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":      "fe80::/64",
	} {
		if got := origin(address); got != netip.MustParsePrefix(want) {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
	if origin("") != (netip.Prefix{}) || origin("@") != (netip.Prefix{}) {
		t.Error("an address was made up")
	}
}

package issuer

import (
	"errors"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"
)

// Memory is bounded, and what has expired makes room.
func TestPendingIsBounded(t *testing.T) {
	p, now := newPending(), time.Now()
	for n := range maxPending {
		if _, err := p.begin(request{}, nil, now); err != nil {
			t.Fatalf("login %d: %v", n+1, err)
		}
	}
	if _, err := p.begin(request{}, nil, now); !errors.Is(err, errFull) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := p.begin(request{}, nil, now.Add(loginLifetime)); err != nil {
		t.Errorf("after the others expired: %v", err)
	}
	if len(p.attempts.entries) != 1 {
		t.Errorf("%d logins are remembered", len(p.attempts.entries))
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l, now := newLimiter(time.Minute, 1), time.Now()
	for n := range 5 * maxRemembered {
		l.take(strconv.Itoa(n), now)
	}
	if len(l.young) > maxRemembered || len(l.old) > maxRemembered {
		t.Errorf("%d and %d keys are remembered", len(l.young), len(l.old))
	}
	if wait := l.take(strconv.Itoa(5*maxRemembered-1), now); wait != time.Minute {
		t.Errorf("the last key waits %v", wait)
	}
	// Whoever asks while waiting does not wait longer for it.
	if wait := l.take(strconv.Itoa(5*maxRemembered-1), now.Add(time.Minute)); wait != 0 {
		t.Errorf("after waiting: %v", wait)
	}
}

func TestClientAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:4711": "192.0.2.1", "[::ffff:192.0.2.1]:4711": "192.0.2.1", "[2001:db8:1:2:3::4]:4711": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "@": "@",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		if got := clientAddress(r); got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

func TestPlainUserCode(t *testing.T) {
	for typed, want := range map[string]string{
		"BCDF-GHJK": "BCDF-GHJK", "bcdfghjk": "BCDF-GHJK", " bcdf ghjk ": "BCDF-GHJK", "BCDFGHJ": "", "BCDF-GHJKL": "", "": "",
	} {
		if got := plainUserCode(typed); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

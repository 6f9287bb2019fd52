package issuer

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBurstLeavesNoDebt: however many try at once, the wait for the next attempt is the one that the limit says.
func TestBurstLeavesNoDebt(t *testing.T) {
	l := newLimiter(30*time.Second, 10)
	now := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 500 {
		wg.Go(func() {
			if l.take("alice@acme.example", now) == 0 {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if taken != 10 {
		t.Errorf("%d attempts were let through, want 10", taken)
	}
	if wait := l.take("alice@acme.example", now); wait <= 0 || wait > 30*time.Second {
		t.Errorf("the next attempt has to wait %s, want 30s at most", wait)
	}
	if wait := l.take("alice@acme.example", now.Add(30*time.Second)); wait != 0 {
		t.Errorf("after 30s the next attempt has to wait %s more", wait)
	}
}

// TestFloodForgetsNobody: guesses at other addresses don't make the limit of one address forgotten.
func TestFloodForgetsNobody(t *testing.T) {
	limits := newLimits()
	now := time.Now()
	account := func(email string) time.Duration {
		return limits.account.take(limits.accountKey(email), now)
	}
	for range 10 {
		account("alice@acme.example")
	}
	for i := range 3 * maxRemembered {
		account(strings.Repeat("x", i%50) + time.Duration(i).String() + "@acme.example")
	}
	if account("Alice@acme.example") == 0 {
		t.Error("a flood of other addresses gives a guesser new attempts")
	}
}

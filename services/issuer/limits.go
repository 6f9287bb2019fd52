package issuer

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxRemembered bounds the addresses or accounts of one generation whose use is remembered.
const maxRemembered = 10_000

// limits are the issuer's, each with the reason for its figures.
type limits struct {
	seed maphash.Seed // of account's keys

	// account: a person mistypes a password a few times; a guesser gets 2,880 guesses a day at passwords of 12 bytes and more.
	account *limiter

	// address: an office behind one address signs in; one address cannot try one password on many accounts.
	address *limiter

	// begin: logins and device flows that are begun, which take memory until they expire.
	begin *limiter

	// lookup: user codes that are tried. There are 20^8 of them, at most maxPending count at a time, and whoever hits one still has to sign in.
	lookup *limiter

	// token: exchanges and polls. A build system behind one address fetches a token for each image.
	token *limiter
}

func newLimits() limits {
	return limits{
		seed:    maphash.MakeSeed(),
		account: newLimiter(30*time.Second, 10),
		address: newLimiter(2*time.Second, 30),
		begin:   newLimiter(time.Second, 60),
		lookup:  newLimiter(2*time.Second, 30),
		token:   newLimiter(100*time.Millisecond, 100),
	}
}

// limiter holds each key to a rate. Memory is bounded by keeping two generations of keys: a full one becomes the old one, and the old one is forgotten.
type limiter struct {
	every rate.Limit
	burst int

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

func newLimiter(every time.Duration, burst int) *limiter {
	return &limiter{every: rate.Every(every), burst: burst, young: map[string]*rate.Limiter{}}
}

// accountKey is what an address counts under. There are fewer keys than are remembered, so that no flood of other addresses makes the limiter forget this one;
// two addresses may share a limit.
func (l limits) accountKey(email string) string {
	return strconv.FormatUint(maphash.String(l.seed, strings.ToLower(email))%(maxRemembered/2), 10)
}

// take takes one from a key's share. It returns zero, or how long to wait for the next.
func (l *limiter) take(key string, now time.Time) time.Duration {
	limiter := l.of(key)
	if limiter.AllowN(now, 1) { // never a reservation: those of concurrent requests cannot all be cancelled, and would leave a debt
		return 0
	}
	return max(time.Millisecond, time.Duration((1-limiter.TokensAt(now))/float64(l.every)*float64(time.Second)))
}

func (l *limiter) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.young[key]
	if found != nil {
		return found
	}
	if found = l.old[key]; found == nil {
		found = rate.NewLimiter(l.every, l.burst)
	}
	if len(l.young) >= maxRemembered {
		l.old, l.young = l.young, map[string]*rate.Limiter{}
	}
	l.young[key] = found
	return found
}

// limited holds the address of a request to a limit; refuse answers what is over it, when Retry-After is set.
func (i *Issuer) limited(l *limiter, refuse http.HandlerFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait := l.take(clientAddress(r), i.clock()); wait > 0 {
			setRetryAfter(w, wait)
			refuse(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// setRetryAfter writes whole seconds, at least one.
func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(max(1, (wait+time.Second-1)/time.Second))))
}

// slowDown answers programs. The word is RFC 8628's: those who poll know it.
func slowDown(w http.ResponseWriter, _ *http.Request) {
	writeProtocolError(w, http.StatusTooManyRequests, "slow_down", "too many requests from this address")
}

// clientAddress is what a peer is known by: its IPv4 address, or the /64 of its IPv6 address, of which one peer has all.
func clientAddress(r *http.Request) string {
	address, err := netip.ParseAddr(hostOf(r.RemoteAddr))
	if err != nil {
		return r.RemoteAddr
	}
	address = address.Unmap()
	if address.Is6() {
		if prefix, err := address.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

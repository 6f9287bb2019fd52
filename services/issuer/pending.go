package issuer

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"sync"
	"time"
)

const (
	// loginLifetime is how long a person may take to sign in. cosign waits for two minutes, then asks for a code to be pasted.
	loginLifetime = 10 * time.Minute

	// codeLifetime is how long a code counts (RFC 6749 section 4.1.2 allows ten minutes): a browser needs no second, a person who copies it some.
	codeLifetime = 2 * time.Minute

	// deviceLifetime is how long a device flow may take in all.
	deviceLifetime = 10 * time.Minute

	// pollInterval is how often a device may ask, RFC 8628's default. A poll that is early by less than pollTolerance is let through: clocks and sleeps differ.
	pollInterval  = 5 * time.Second
	pollTolerance = time.Second

	// maxPending bounds what is under way of each kind; each takes 2 KiB at most.
	maxPending = 10_000
)

// errFull says that maxPending is reached.
var errFull = errors.New("too many logins are under way")

// request is an authorization request that passed all checks.
type request struct {
	redirectURI, state, nonce string
	challenge                 string // PKCE, S256
}

// attempt is a login page that waits for its person. It is bound to the browser that it was shown to.
type attempt struct {
	id      string
	browser string // the cookie's value
	token   string // in the form, against forged requests
	request request
	device  *device // instead of request
}

// grant is a code that was given out.
type grant struct {
	request request
	subject string
	when    time.Time // of the password
}

// device is a device flow. Its fields from state on are guarded by pending.mu.
type device struct {
	code, userCode string
	challenge      string // PKCE, which cosign sends here too; empty if it was not sent
	state          deviceState
	subject        string
	when           time.Time // of the password
	nextPoll       time.Time
}

type deviceState int

const (
	deviceWaiting deviceState = iota
	deviceApproved
	deviceDenied
)

// pending is everything that is under way.
type pending struct {
	mu        sync.Mutex
	attempts  table[*attempt] // by id
	grants    table[grant]    // by code
	devices   table[*device]  // by device code
	userCodes table[*device]  // the same, by user code
}

func newPending() *pending {
	return &pending{attempts: newTable[*attempt](), grants: newTable[grant](), devices: newTable[*device](), userCodes: newTable[*device]()}
}

// begin starts a login for a request, or for a device.
func (p *pending) begin(r request, d *device, now time.Time) (*attempt, error) {
	a := &attempt{id: rand.Text(), browser: rand.Text(), token: rand.Text(), request: r, device: d}
	p.mu.Lock()
	defer p.mu.Unlock()
	return a, p.attempts.put(a.id, a, now.Add(loginLifetime), now)
}

// find returns the login of this identifier if it was begun in the browser that has the cookie.
func (p *pending) find(id, browser string, now time.Time) (*attempt, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.attempts.get(id, now)
	if !ok || subtle.ConstantTimeCompare([]byte(a.browser), []byte(browser)) != 1 {
		return nil, false
	}
	return a, true
}

// end takes a login away and reports whether it was still there: of two requests at the same time, one has it.
func (p *pending) end(a *attempt, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.attempts.take(a.id, now)
	return ok
}

// grant makes the code for a person who signed in.
func (p *pending) grant(r request, subject string, now time.Time) (string, error) {
	code := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	return code, p.grants.put(code, grant{request: r, subject: subject, when: now}, now.Add(codeLifetime), now)
}

// redeem takes a code away.
func (p *pending) redeem(code string, now time.Time) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grants.take(code, now)
}

// beginDevice starts a device flow under a user code that must be free.
func (p *pending) beginDevice(userCode, challenge string, now time.Time) (*device, error) {
	d := &device{code: rand.Text(), userCode: userCode, challenge: challenge}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, taken := p.userCodes.get(userCode, now); taken {
		return nil, errors.New("the user code is taken")
	}
	if err := p.userCodes.put(userCode, d, now.Add(deviceLifetime), now); err != nil {
		return nil, err
	}
	return d, p.devices.put(d.code, d, now.Add(deviceLifetime), now)
}

// byUserCode finds a device flow that waits for its person.
func (p *pending) byUserCode(userCode string, now time.Time) (*device, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.userCodes.get(userCode, now)
	return d, ok && d.state == deviceWaiting
}

// decide ends a device flow's waiting, and reports whether it still waited. An empty subject denies.
func (p *pending) decide(d *device, subject string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The user code has done its work.
	if _, ok := p.userCodes.take(d.userCode, now); !ok || d.state != deviceWaiting {
		return false
	}
	d.state, d.subject, d.when = deviceApproved, subject, now
	if subject == "" {
		d.state = deviceDenied
	}
	return true
}

// poll is what a device learns. ok is false for a device code that is not known (any more), early true for one that asks too often. A device whose person has
// decided is taken away.
func (p *pending) poll(code string, now time.Time) (d device, early, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.devices.get(code, now)
	if !ok {
		return device{}, false, false
	}
	if found.state != deviceWaiting {
		p.devices.take(code, now)
		return *found, false, true
	}
	early = now.Before(found.nextPoll.Add(-pollTolerance))
	found.nextPoll = now.Add(pollInterval)
	return *found, early, true
}

// table is a map whose entries expire, with at most maxPending of them.
type table[T any] struct {
	entries map[string]entry[T]
	sweep   time.Time // when to look for expired entries next
}

type entry[T any] struct {
	value   T
	expires time.Time
}

func newTable[T any]() table[T] { return table[T]{entries: map[string]entry[T]{}} }

func (t *table[T]) put(key string, value T, expires, now time.Time) error {
	if now.After(t.sweep) || len(t.entries) >= maxPending {
		for k, e := range t.entries {
			if !now.Before(e.expires) {
				delete(t.entries, k)
			}
		}
		t.sweep = now.Add(time.Minute)
	}
	if len(t.entries) >= maxPending {
		return errFull
	}
	t.entries[key] = entry[T]{value, expires}
	return nil
}

func (t *table[T]) get(key string, now time.Time) (T, bool) {
	e, ok := t.entries[key]
	if !ok || !now.Before(e.expires) {
		var none T
		return none, false
	}
	return e.value, true
}

func (t *table[T]) take(key string, now time.Time) (T, bool) {
	value, ok := t.get(key, now)
	delete(t.entries, key)
	return value, ok
}

package auth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
)

const (
	// maxWaitingFrom bounds the passwords of one address that wait to be compared. Everybody who logs in from there with the same
	// credentials takes one place; a machine of sixteen users who all come at once is rare.
	maxWaitingFrom = 16
	// maxWaiting bounds those of all addresses: at 50 to 100 ms for each, the last of them waits some twenty seconds, as long as clients do.
	maxWaiting = 256
	// ipv6Network is what one client has of IPv6 addresses, in bits: it can take another address in it for each request.
	ipv6Network = 64
)

// errMany and errFull say that there is no place to wait.
var (
	errMany = fmt.Errorf("%w: %d passwords from this address wait already", ErrTooMany, maxWaitingFrom)
	errFull = fmt.Errorf("%w: %w", ErrUnavailable, errors.New("too many passwords wait already"))
)

// turns lets some callers at a time compare a password, which takes a processor for as long as 100 ms, and makes the others wait. Addresses
// take turns, so that whoever tries passwords from one of them holds up those at others by one comparison at most.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting int
	lanes   map[netip.Prefix][]chan bool // those who wait, by address, to be told whether it is their turn; none is empty
	order   []netip.Prefix               // of the lanes; the first has the next turn
}

// newTurns leaves half of the processors to those who have logged in.
func newTurns() *turns {
	return &turns{free: max(1, runtime.GOMAXPROCS(0)/2), lanes: map[netip.Prefix][]chan bool{}}
}

// take waits for a turn, which the caller gives back by done. Where too many wait it says so at once, or when others need the place more:
// the error wraps [ErrTooMany] or [ErrUnavailable].
func (t *turns) take(from netip.Prefix) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	lane := t.lanes[from]
	switch {
	case len(lane) >= maxWaitingFrom:
		t.mu.Unlock()
		return errMany
	case t.waiting >= maxWaiting && !t.makeRoom(len(lane)):
		t.mu.Unlock()
		return errFull
	}
	if len(lane) == 0 {
		t.order = append(t.order, from)
	}
	turn := make(chan bool, 1)
	t.lanes[from] = append(lane, turn)
	t.waiting++
	t.mu.Unlock()
	if !<-turn {
		return errFull
	}
	return nil
}

// makeRoom sends away whoever came last to the longest lane, for one more at an address of which fewer wait; it reports whether there is
// such a lane. So a few addresses cannot take all places.
func (t *turns) makeRoom(waiting int) bool {
	longest := t.order[0]
	for _, from := range t.order {
		if len(t.lanes[from]) > len(t.lanes[longest]) {
			longest = from
		}
	}
	lane := t.lanes[longest]
	last := len(lane) - 1
	if last <= waiting {
		return false
	}
	lane[last] <- false
	t.lanes[longest] = lane[:last]
	t.waiting--
	return true
}

// done gives a turn to the next address.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == 0 {
		t.free++
		return
	}
	t.waiting--
	from := t.order[0]
	t.order = t.order[1:]
	lane := t.lanes[from]
	lane[0] <- true
	if len(lane) == 1 {
		delete(t.lanes, from)
		return
	}
	t.lanes[from] = lane[1:]
	t.order = append(t.order, from)
}

// origin is the address that a request came from, as far as it tells one client from another; the zero value if it is not known.
func origin(remoteAddr string) netip.Prefix {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = ipv6Network
	}
	prefix, _ := addr.Prefix(bits) // bits is one of the address's
	return prefix
}

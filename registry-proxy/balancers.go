package registryproxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// To this process, all who come by a balancer have the balancer's address. What X-Forwarded-For says of theirs is believed of the balancers
// that the operator names, and of nobody else: anybody can send that header, and who can choose an address can have another's in the decision
// log, and a new place for a password with each request. RFC 7239's Forwarded, X-Real-IP and what else there is are not read.

const (
	// maxBalancers bounds the list: each address on a request's way is looked up in all of it.
	maxBalancers = 64
	// maxHops bounds how many balancers in a row are believed, the peer among them. More than a few is a loop, or somebody who made them up.
	maxHops = 16
	// maxHop bounds an entry of the header, in bytes: the longest IPv6 address, its zone, its port and two brackets have 69.
	maxHop = 72
)

// Balancers are those who pass requests on to a proxy and say from whom. The zero value is nobody.
type Balancers []netip.Prefix

// ParseBalancers reads addresses, such as 192.0.2.7, and networks, such as 10.0.0.0/8, at most 64. A network of everybody is refused. The error comes
// with the field that is wrong, such as "balancers[1]".
func ParseBalancers(list []string) (b Balancers, field string, err error) {
	if len(list) > maxBalancers {
		return nil, "balancers", fmt.Errorf("has %d entries, above %d: name their networks", len(list), maxBalancers)
	}
	for i, text := range list {
		p, err := parseBalancer(text)
		if err != nil {
			return nil, fmt.Sprintf("balancers[%d]", i), fmt.Errorf("%q %w", text, err)
		}
		b = append(b, p)
	}
	return b, "", nil
}

func parseBalancer(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if addr, failed := netip.ParseAddr(text); failed == nil && addr.Zone() == "" {
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return p, errors.New("is neither an IP address, without port and zone, nor a network such as 10.0.0.0/8")
	case p.Bits() == 0:
		return p, errors.New("is everybody: each client could choose the address that it is known by; name the balancers alone")
	case p != p.Masked():
		return p, fmt.Errorf("is an address in a network: write %s for the network, or the address alone", p.Masked())
	case p.Addr().Is4In6():
		return p, errors.New("is an IPv4 address as IPv6 writes it: write it as IPv4")
	case p.Addr().Is6() && p.Addr().IsLinkLocalUnicast():
		return p, errors.New("is a link-local address, which another machine may have on another link: give the balancer one of its own")
	}
	return p, nil
}

// has reports whether an address is a balancer's. One with a zone never is: see parseBalancer.
func (b Balancers) has(addr netip.Addr) bool {
	return slices.ContainsFunc(b, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// sent is a request with the client's address as RemoteAddr, with port 0, if balancers say another than the peer's; else it is as it came. That
// address tells clients apart and no more: whether a proxy is for its own machine alone is said by where it listens, and not by who asks.
func (b Balancers) sent(r *http.Request) *http.Request {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !b.has(peer.Addr().Unmap()) {
		return r
	}
	client := b.client(peer.Addr().Unmap(), strings.Join(r.Header.Values("X-Forwarded-For"), ","))
	if client == peer.Addr().Unmap() {
		return r
	}
	r = r.WithContext(r.Context()) // a copy
	r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
	return r
}

// client is the last address that is no balancer's in a list to which each balancer has added, at its end, from whom it had the request. Where an
// entry cannot be read, or the list ends, it is that of the balancer that wrote it, or should have: what stands before is anybody's.
func (b Balancers) client(at netip.Addr, list string) netip.Addr {
	for more, hops := true, 0; more && hops < maxHops && b.has(at); hops++ {
		end := strings.LastIndexByte(list, ',')
		next, err := parseHop(list[end+1:])
		if err != nil {
			break
		}
		at, list, more = next, list[:max(end, 0)], end >= 0
	}
	return at.WithZone("")
}

// parseHop reads an address, in brackets or not, with a port or without: balancers write all of these.
func parseHop(entry string) (netip.Addr, error) {
	entry = strings.Trim(entry, " \t")
	if len(entry) > maxHop {
		return netip.Addr{}, errors.New("is longer than any address")
	}
	if with, err := netip.ParseAddrPort(entry); err == nil {
		return with.Addr().Unmap(), nil
	}
	if strings.HasPrefix(entry, "[") {
		with, err := netip.ParseAddrPort(entry + ":0")
		return with.Addr().Unmap(), err
	}
	addr, err := netip.ParseAddr(entry)
	return addr.Unmap(), err
}

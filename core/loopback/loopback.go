// Package loopback says which hosts are this machine itself: the rule by which plain
// HTTP is good enough, or a listener needs no login. [Guard] keeps web pages from
// such a listener.
package loopback

import "net/netip"

// Host reports whether a host, as [net/url.URL.Hostname] gives it, is this machine: an
// address of loopback, of either family, or the name localhost. Other names are not
// looked up: what they lead to can change after it was asked.
func Host(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

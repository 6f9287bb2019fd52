package loopback

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// What only this machine reaches, and asks nobody who they are, would be open to every web page that is looked at on this machine: a page can have
// its own name resolve to 127.0.0.1, after which the browser takes what is answered there for the page's own ("DNS rebinding"). What such a page
// cannot do is choose a Host header that is not its name.

// Fixed reports whether a host, as [Hostname] gives it, is an IP address or a name of the machine itself (RFC 6761, 6.3): nobody's name server says
// where it leads.
func Fixed(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Hostname is a Host header, or HOST:PORT, without its port, in lower case, and without the brackets of an IPv6 address.
func Hostname(header string) string {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Guard keeps web pages from a handler that is served at an address, HOST:PORT, if that is loopback: who asks for a name that could be theirs gets
// 421. Without a Host header, as HTTP/1.0 may have it, nobody asks who is a browser. At other addresses, which others reach anyway, everybody is answered.
func Guard(address string, next http.Handler) http.Handler {
	if !Host(Hostname(address)) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "" && !Fixed(Hostname(r.Host)) {
			http.Error(w, "this is for its own machine: ask for localhost, or for an IP address", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

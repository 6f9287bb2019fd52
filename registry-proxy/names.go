package registryproxy

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A proxy that only its own machine reaches, and that asks nobody who they are, would be open to every web page that is looked at on
// that machine: a page can have its own name resolve to 127.0.0.1, after which the browser takes what the proxy answers for the page's own ("DNS
// rebinding"). What such a page cannot do is choose a Host header that is not its name.

// misdirected is the answer to a request for a host that this proxy does not go by.
func (f *Front) misdirected(r *http.Request) *failure {
	if !f.onlyNames || goesBy(f.names, hostname(r.Host)) {
		return nil
	}
	return &failure{
		status: http.StatusMisdirectedRequest, code: codeUnsupported,
		message: "this proxy does not go by the host name that was asked for: use localhost or its IP address, or add the name to names in proxy.yaml",
	}
}

// GoesBy reports whether a proxy that goes by these names alone answers requests for a host. Both are HOST or HOST:PORT, of which the port does
// not count. It always answers for IP addresses, and for names of its own machine.
func GoesBy(names []string, host string) bool { return goesBy(ownNames(names, nil), hostname(host)) }

func goesBy(own map[string]bool, host string) bool { return own[host] || isLocal(host) }

// isLocal reports whether a host is an IP address or a name of the machine itself, which no name server can give to somebody else: RFC 6761, 6.3.
func isLocal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostname is a Host header without its port, in lower case, and without the brackets of an IPv6 address.
func hostname(header string) string {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// ownNames are what a front goes by: names, and the hosts of its mounts.
func ownNames(names []string, mounts []*Mount) map[string]bool {
	for _, m := range mounts {
		names = append(slices.Clip(names), m.Hosts...)
	}
	own := map[string]bool{}
	for _, n := range names {
		own[hostname(n)] = true
	}
	return own
}

package attach

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/loopback"
)

// maxRedirects is the number of redirects followed for one request; registries need one, to their blob storage.
const maxRedirects = 5

// guard looks at every request that leaves, whoever caused it: us, a redirect, or the realm of a challenge. go-containerregistry adds credentials for the
// registry's own host only, and sends them to a realm only if that is https (or the registry itself is http) and no private address other than the registry's own.
type guard struct {
	inner    http.RoundTripper
	host     string // the registry's, with its port
	http     bool   // the registry may be reached by HTTP
	loopback bool   // the registry is on this machine
}

func newGuard(inner http.RoundTripper, registry name.Registry) *guard {
	u := url.URL{Host: registry.RegistryStr()}
	return &guard{inner: inner, host: u.Host, http: registry.Scheme() == "http", loopback: loopback.Host(u.Hostname())}
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.check(req.URL); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return g.inner.RoundTrip(req)
}

func (g *guard) check(u *url.URL) error {
	if u.Scheme != "https" && !(u.Scheme == "http" && g.http) {
		return fmt.Errorf("refusing to leave https for %s://%s", u.Scheme, u.Host)
	}
	if u.User != nil {
		return fmt.Errorf("refusing credentials in the URL of %s", u.Host)
	}
	if strings.EqualFold(u.Host, g.host) {
		return nil
	}
	// Full-width dots and the like are normalised differently by different resolvers and proxies.
	if strings.IndexFunc(u.Host, func(r rune) bool { return r < '!' || r > '~' }) >= 0 {
		return fmt.Errorf("refusing host %q: not ASCII", u.Host)
	}
	// Blob storage may well have a private address, but a registry has no business on this machine or at its cloud's metadata service.
	if addr, ok := literalAddress(u.Hostname()); ok {
		if addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() && !g.loopback {
			return fmt.Errorf("refusing to be sent to %s", u.Host)
		}
	}
	return nil
}

// literalAddress reads an IP address. Hosts that are numbers in any other spelling ("127.1", "0x7f000001", "2130706433"), which system resolvers
// take for addresses, come back as the unspecified address.
func literalAddress(host string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.WithZone("").Unmap(), true
	}
	last := strings.TrimSuffix(host, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	// Numeric last labels are no host names (WHATWG URL, "ends in a number"). Octal and hexadecimal ones are covered by base 0.
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
		return netip.IPv4Unspecified(), true
	}
	return netip.Addr{}, false
}

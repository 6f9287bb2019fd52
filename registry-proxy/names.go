package registryproxy

import (
	"net/http"
	"slices"

	"github.com/touchmark/touchmark/core/loopback"
)

// misdirected is the answer to a request for a host that this proxy does not go by: a web page whose name leads here sends such ones
// (core/loopback).
func (f *Front) misdirected(r *http.Request) *failure {
	if !f.onlyNames || goesBy(f.names, loopback.Hostname(r.Host)) {
		return nil
	}
	return &failure{
		status: http.StatusMisdirectedRequest, code: codeUnsupported,
		message: "this proxy does not go by the host name that was asked for: use localhost or its IP address, or add the name to names in proxy.yaml",
	}
}

// GoesBy reports whether a proxy that goes by these names alone answers requests for a host. Both are HOST or HOST:PORT, of which the port does
// not count. It always answers for IP addresses, and for names of its own machine.
func GoesBy(names []string, host string) bool {
	return goesBy(ownNames(names, nil), loopback.Hostname(host))
}

func goesBy(own map[string]bool, host string) bool { return own[host] || loopback.Fixed(host) }

// ownNames are what a front goes by: names, and the hosts of its mounts.
func ownNames(names []string, mounts []*Mount) map[string]bool {
	for _, m := range mounts {
		names = append(slices.Clip(names), m.Hosts...)
	}
	own := map[string]bool{}
	for _, n := range names {
		own[loopback.Hostname(n)] = true
	}
	return own
}

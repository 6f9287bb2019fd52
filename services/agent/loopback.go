package agent

import (
	"net"
	"net/http"
	"strings"
)

// loopbackHandler serves what is mounted, and whether the agent is there. Paths
// reach a mount as they were sent: http.ServeMux would tidy them up.
func (a *Agent) loopbackHandler() http.Handler {
	_, port, _ := net.SplitHostPort(a.config.Listeners.loopbackAddr()) // it is listened on
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := fromBrowser(r, port); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		path := r.URL.EscapedPath()
		if path == "/healthz" {
			_, _ = w.Write([]byte("ok\n")) // the client went away; it knows
			return
		}
		for prefix, h := range a.config.Mounts {
			if strings.HasPrefix(path, prefix) {
				h.ServeHTTP(w, r)
				return
			}
		}
		http.NotFound(w, r)
	})
}

// fromBrowser says why a request is not one of this host's container tools, or
// "". A web page makes a browser of this host ask for anything on loopback: by a
// name of its own, which its server leads here (DNS rebinding), or blindly by our
// address. The name stands in Host, and browsers mark the others.
func fromBrowser(r *http.Request, port string) string {
	switch r.Host {
	case "127.0.0.1:" + port, "[::1]:" + port, "localhost:" + port:
	default:
		return "the Host header is not this agent's address"
	}
	for _, mark := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode"} {
		if r.Header.Get(mark) != "" {
			return "web pages are not answered"
		}
	}
	return ""
}

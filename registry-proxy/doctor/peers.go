package doctor

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/touchmark/touchmark/registry-proxy/peers"
)

// peerTimeout is how long another replica may take to answer anything.
const peerTimeout = 5 * time.Second

// checkPeers looks at the talk with the other replicas.
func checkPeers(ctx context.Context, s *snapshot) {
	if s.conf == nil || s.conf.Peers.SecretFile == "" {
		return
	}
	c := s.conf.Peers
	if _, err := peers.ReadSecret(c.SecretFile); err != nil && !s.found("peers-secret-readable") {
		s.Find("peers-secret-unusable", c.SecretFile, "%v", err)
	}
	urls := c.URLs
	if c.DNS != "" {
		urls = append(urls[:len(urls):len(urls)], "http://"+c.DNS)
	}
	for _, u := range urls {
		if plain(u) {
			s.Find("peers-http", s.field("peers"), "%s is asked by plain HTTP", u)
		}
		if s.Network {
			if err := answers(ctx, u); err != nil {
				s.Find("peers-silent", s.field("peers"), "%v", err)
			}
		}
	}
	if _, port, _ := net.SplitHostPort(c.Listen); port != "" && port != "0" && s.Live && (s.URL == "" || s.ownAddress()) {
		conn, err := (&net.Dialer{Timeout: peerTimeout}).DialContext(ctx, "tcp", reachable(c.Listen))
		if err != nil {
			s.Find("peers-closed", s.field("peers.listen"), "%v", err)
			return
		}
		_ = conn.Close() // nothing was said
	}
}

// found reports whether there is a finding with a code.
func (s *snapshot) found(code string) bool {
	for _, f := range s.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

// answers asks a replica something that needs no secret, and says why there is no
// answer at all.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

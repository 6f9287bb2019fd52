package doctor

import (
	"context"
	"errors"
	"net"
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
	secret, err := peers.ReadSecret(c.SecretFile)
	if err != nil && !s.found("peers-secret-readable") {
		s.Find("peers-secret-unusable", c.SecretFile, "%v", err)
	}
	ask := peers.Config{URLs: c.URLs, Secret: secret}
	if c.DNS != "" {
		ask.DNS = "http://" + c.DNS
	}
	for _, u := range append(c.URLs[:len(c.URLs):len(c.URLs)], ask.DNS) {
		if u != "" && plain(u) {
			s.Find("peers-http", s.field("peers"), "%s is asked by plain HTTP", u)
		}
	}
	if err == nil && len(c.URLs)+len(c.DNS) > 0 {
		s.checkAnswers(ctx, "peers", ask, s.Network)
	}
	if _, port, _ := net.SplitHostPort(c.Listen); port != "" && port != "0" && s.Live && (s.URL == "" || s.ownAddress()) {
		conn, dialed := (&net.Dialer{Timeout: peerTimeout}).DialContext(ctx, "tcp", reachable(c.Listen))
		if dialed != nil {
			s.Find("peers-closed", s.field("peers.listen"), "%v", dialed)
			return
		}
		_ = conn.Close() // nothing was said
		if err == nil {
			s.checkAnswers(ctx, "peers.listen", peers.Config{URLs: []string{"http://" + reachable(c.Listen)}, Secret: secret}, true)
		}
	}
}

// checkAnswers asks replicas as the proxy would, if they may be asked.
func (s *snapshot) checkAnswers(ctx context.Context, field string, c peers.Config, ask bool) {
	client, err := peers.New(c)
	if err != nil {
		s.Find("config-unusable", s.field(field), "%v", err)
		return
	}
	if !ask {
		return
	}
	for _, wrong := range client.Check(ctx) {
		code := "peers-silent"
		if errors.Is(wrong, peers.ErrSecret) {
			code = "peers-secret-differs"
		}
		s.Find(code, s.field(field), "%v", wrong)
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

package doctor

import (
	"net"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/keys"
)

// FromConfig is what a host's config.yaml says.
func FromConfig(c *hostconfig.Config) Intent {
	key := countersign.ForHost(c, keys.Options{})
	i := Intent{
		File: c.File, Scopes: c.Podman.Scopes, Form: Form(c.Podman.Form), SecretKey: key.Key, Public: key.Public,
		Socket: c.Agent.Socket, State: c.Agent.State, Policies: c.Policy,
		Files: []string{c.Policy, c.Trust.Dir},
	}
	for _, t := range c.Trust.TUF {
		if t.Root != "" {
			i.Files = append(i.Files, t.Root)
		}
	}
	if host, port, err := net.SplitHostPort(c.Agent.Listen); err == nil {
		i.Lookaside = "http://" + net.JoinHostPort(host, port)
	}
	return i
}

package doctor

import (
	"github.com/touchmark/touchmark/core/hostconfig"
)

// Intent is what a node is to enforce. Paths are the node's own, with Host.Root
// or without.
type Intent struct {
	// File is Touchmark's config.yaml, and Problem what is wrong with it; nil if
	// nothing is.
	File    string
	Problem error
	// ContainerdConfig is containerd's config.toml.
	ContainerdConfig string
	// Address is containerd's socket, where it is another than the one that its
	// configuration names; "" if it is not.
	Address string
	// BinDir is where it put the verifier; "" if that is not known.
	BinDir string
	// Proxies are the hosts, with their ports, of the registry proxies that images are
	// to come through, and Registries the names that containerd has for the registries
	// behind them.
	Proxies, Registries []string
	// ProxyOnly says that the proxy alone enforces, as with containerd 1.7: that
	// containerd asks no verifier is not a cause then.
	ProxyOnly bool
	// Hosts are directories of hosts.toml, in the place of those that containerd's
	// configuration names.
	Hosts []string
	// Credentials is the file with the node's own, in the format of Docker's.
	Credentials string
	// Standalone says that the verifier may decide without the agent, Observe that it
	// admits everything.
	Standalone, Observe bool
	// NRI says that containers are to be judged when they are made, too.
	NRI bool
	// Socket is the agent's unix socket, State its directory.
	Socket, State string
	// Policies are the policy file or directory, Trust the files and directories of
	// trust roots.
	Policies string
	Trust    []string
}

// FromConfig is what a node's config.yaml says.
func FromConfig(c *hostconfig.Config) Intent {
	i := Intent{
		File: c.File, ContainerdConfig: c.Containerd.Config, Hosts: c.Containerd.Hosts, Credentials: c.Containerd.Credentials,
		Standalone: c.Containerd.Standalone, Observe: c.Containerd.Observe, NRI: c.Containerd.NRI,
		Socket: c.Agent.Socket, State: c.Agent.State, Policies: c.Policy, Trust: []string{c.Trust.Dir},
	}
	for _, t := range c.Trust.TUF {
		if t.Root != "" {
			i.Trust = append(i.Trust, t.Root)
		}
	}
	return i
}

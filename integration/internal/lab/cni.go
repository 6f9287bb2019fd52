package lab

import "testing"

// cniVersion is the version of CNI's plugins that integration/tools.sh installs.
const cniVersion = "v1.9.1"

// Bridge is the network device of a host that its pods are connected by, once [Containerd.CNI] has set that up.
const Bridge = "pods0"

// bridgeConfig gives each pod an address of its own. None is translated, since nothing leads out of the host.
const bridgeConfig = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge",
    "bridge": "` + Bridge + `",
    "isGateway": true,
    "ipMasq": false,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]}
  }]
}
`

// CNI gives pods networks of their own, on a bridge, as many nodes of Kubernetes do it. The host has to have [OwnNetwork], so that this machine's gets no bridge.
func (c *Containerd) CNI(tb testing.TB) {
	tb.Helper()
	if !c.ownNetwork {
		tb.Fatal("the host has the network of this machine, which gets no bridge")
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		c.Link(tb, Tool(tb, plugin+"-"+cniVersion), "/opt/cni/bin/"+plugin)
	}
	c.Write(tb, "/etc/cni/net.d/10-pods.conflist", bridgeConfig)
}

package install

import (
	"fmt"
	"strings"

	"github.com/touchmark/touchmark/containerd/distribution"
)

// Manual is what to do where no file of the node helps: because of the
// distribution, or because its containerd has no verifiers. proxy is the proxy's
// URL, "" where none was named.
func Manual(d distribution.Distribution, proxy string) string {
	if proxy == "" {
		proxy = "https://proxy.example:5443"
	}
	var out strings.Builder
	if d.Override.How != "" {
		fmt.Fprintf(&out, "%s\n\n", d.Override.How)
	}
	switch d.Name {
	case distribution.Talos:
		fmt.Fprintf(&out, `Talos, in the machine configuration (talosctl patch machineconfig), with the proxy:

machine:
  registries:
    mirrors:
      "*":
        endpoints: ["%s"]
        skipFallback: true

skipFallback keeps Talos from asking the registry itself where the proxy refuses.
`, proxy)
	case distribution.Bottlerocket:
		fmt.Fprintf(&out, `Bottlerocket, in the user data, or by apiclient set, with the proxy:

[[settings.container-registry.mirrors]]
registry = "*"
endpoint = ["%s"]

Bottlerocket asks the registry itself where a mirror refuses: this enforces only if the
node can reach no registry but the proxy. Close the others by its network's rules.
`, proxy)
	case distribution.GKE:
		fmt.Fprintf(&out, `GKE, in the node pool's system configuration (gcloud container node-pools update
--containerd-config-from-file), with the proxy:

registryHosts:
- server: docker.io
  hosts:
  - host: "%s"
    capabilities: [HOST_CAPABILITY_PULL, HOST_CAPABILITY_RESOLVE]

GKE asks the registry itself where a host refuses: this enforces only if the node can
reach no registry but the proxy. Close the others by the network's rules.
`, proxy)
	case distribution.None:
	default:
		fmt.Fprintf(&out, `With the registry proxy (docs/proxy.md), which refuses for every client:

  touchmark install containerd --proxy %s

writes hosts.toml with the proxy as server, for a containerd whose CRI has a config_path.
Close the way to other registries, since whoever pulls past CRI reads no hosts.toml.
`, proxy)
	}
	return out.String()
}

package distribution

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/core/configfile"
)

// maxRelease bounds /etc/os-release, in bytes; it has a dozen lines.
const maxRelease = 64 << 10

// dropIn is what our drop-in is called: it is read after those of others.
const dropIn = "99-touchmark.toml"

// Detect says who put containerd on a host. What cannot be told apart from
// containerd's own release is that. k3s and RKE2 are found where --data-dir of their
// configuration, unit or environment says, or else below /var/lib/rancher.
func Detect(h containerd.Host) Distribution {
	d := Distribution{
		Name: Plain, Config: "/etc/containerd/config.toml", Address: "/run/containerd/containerd.sock", Service: "containerd.service",
		Program:  first(h, "/usr/bin/containerd", "/usr/local/bin/containerd"),
		Override: dropInBelow("/etc/containerd/conf.d"),
	}
	osID, osFile := osID(h)
	switch {
	case osID == "talos":
		return talos(d, osFile)
	case osID == "bottlerocket":
		return bottlerocket(d, osFile)
	case osID == "cos":
		return gke(d, osFile)
	}
	for _, name := range []Name{RKE2, K3s} {
		// A data-dir that was set just now is not there yet.
		for _, data := range []string{dataDir(h, name), defaultDataDir(name)} {
			if exists(h, agentConfig(data)) {
				return rancher(h, d, name, data)
			}
		}
	}
	if nodeadm := first(h, "/usr/bin/nodeadm"); nodeadm != "" {
		return eks(d, nodeadm)
	}
	if d.Because = first(h, "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/kubeadm-flags.env"); d.Because != "" {
		d.Name = Kubeadm
		return d
	}
	if d.Because = first(h, "/usr/bin/dockerd", "/usr/local/bin/dockerd"); d.Because != "" {
		d.Name = Docker
		return d
	}
	if d.Because = first(h, d.Config, "/usr/local/lib/systemd/system/containerd.service", "/usr/lib/systemd/system/containerd.service", "/lib/systemd/system/containerd.service"); d.Because == "" {
		d.Because = d.Program
	}
	if d.Because == "" {
		return Distribution{Name: None, Config: d.Config, Address: d.Address, Override: Override{Kind: Nothing, How: "no containerd was found: install it first"}}
	}
	return d
}

func dropInBelow(dir string) Override {
	return Override{Kind: DropIn, Path: filepath.Join(dir, dropIn), Import: filepath.Join(dir, "*.toml")}
}

func talos(d Distribution, because string) Distribution {
	d.Name, d.Because = Talos, because
	d.Config, d.Address, d.Service = "/etc/cri/containerd.toml", "/run/containerd/containerd.sock", ""
	d.Override = Override{Kind: Nothing, How: "Talos' own containerd pulls images by itself and has no place for a verifier: set Touchmark's registry proxy as the registries' endpoint in the machine configuration"}
	return d
}

func bottlerocket(d Distribution, because string) Distribution {
	d.Name, d.Because = Bottlerocket, because
	d.Override = Override{Kind: Nothing, How: "Bottlerocket writes containerd's configuration from its settings, which have no verifiers: set Touchmark's registry proxy as an endpoint in settings.container-registry.mirrors"}
	return d
}

func gke(d Distribution, because string) Distribution {
	d.Name, d.Because = GKE, because
	d.Override = Override{Kind: Nothing, How: "GKE writes containerd's configuration at each boot, onto a system that cannot be written to: set Touchmark's registry proxy in registryHosts of the node pool's containerd configuration"}
	return d
}

// eksSnippet is merged by nodeadm into what it writes.
const eksSnippet = `apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  containerd:
    config: |
      imports = ['/etc/containerd/conf.d/*.toml']
      [plugins.'io.containerd.cri.v1.images']
      discard_unpacked_layers = false
`

// eks is a node of Amazon's. nodeadm writes config.toml anew at each boot.
func eks(d Distribution, because string) Distribution {
	d.Name, d.Because = EKS, because
	d.Override.Kind, d.Override.Path, d.Override.Snippet = API, "", eksSnippet
	d.Override.How = "nodeadm writes config.toml at each boot: have the settings in spec.containerd.config of the NodeConfig in the nodes' user data"
	return d
}

// agentConfig is the directory with containerd's configuration below a data-dir.
func agentConfig(data string) string { return filepath.Join(data, "agent/etc/containerd") }

// rancher is a node of k3s or RKE2, which make config.toml at each start. Since
// 2025 it imports a directory, whose name has the version of the configuration
// unless it is 2; before that, a template of one's own has to.
func rancher(h containerd.Host, d Distribution, name Name, data string) Distribution {
	dir := agentConfig(data)
	d.Name, d.Because = name, dir
	d.Config, d.Address, d.CertsD = filepath.Join(dir, "config.toml"), "/run/k3s/containerd/containerd.sock", filepath.Join(dir, "certs.d")
	d.Program = first(h, filepath.Join(data, "data/current/bin/containerd"), filepath.Join(data, "bin/containerd"))
	d.Service = unit(h, name)
	base := "config-v3.toml"
	c, err := config.Load(h, d.Config, config.Newest())
	if err == nil && c.Version == 2 {
		base = "config.toml"
	}
	d.Override = dropInBelow(filepath.Join(dir, base+".d"))
	if err == nil && !slices.ContainsFunc(c.Imports, func(i config.Import) bool { return i.Pattern == d.Override.Import }) {
		d.Override.Kind, d.Override.Path = Template, filepath.Join(dir, base+".tmpl")
	}
	return d
}

// unit is the systemd unit of k3s or RKE2: a server has another one than an agent.
func unit(h containerd.Host, name Name) string {
	server, agent := "k3s.service", "k3s-agent.service"
	if name == RKE2 {
		server, agent = "rke2-server.service", "rke2-agent.service"
	}
	// RKE2 installs both, and one is enabled.
	for _, dir := range []string{"/etc/systemd/system/multi-user.target.wants", "/etc/systemd/system"} {
		for _, u := range []string{server, agent} {
			if exists(h, filepath.Join(dir, u)) {
				return u
			}
		}
	}
	return server
}

// osID is ID of os-release, and the file that has it; "" if there is none.
func osID(h containerd.Host) (id, file string) {
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := configfile.Read(h.Path(file), maxRelease)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			if v, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "ID="); ok {
				return strings.Trim(v, `"'`), file
			}
		}
	}
	return "", ""
}

// first is the first of some paths that exists, or "".
func first(h containerd.Host, paths ...string) string {
	i := slices.IndexFunc(paths, func(p string) bool { return exists(h, p) })
	if i < 0 {
		return ""
	}
	return paths[i]
}

// exists reports whether something lies at a path, a link that leads nowhere
// included: a mounted root's links are absolute.
func exists(h containerd.Host, path string) bool {
	_, err := os.Lstat(h.Path(path))
	return err == nil
}

package install

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// hostsFile says how one registry, or each without a file of its own, is reached.
const hostsFile = "hosts.toml"

// written begins our hosts.toml.
const written = "# Written by touchmark install containerd; touchmark uninstall containerd takes it away.\n"

// needsHosts reports whether there will be a hosts.toml of ours.
func (p *planner) needsHosts() bool {
	return p.Proxy != "" || p.Fix && len(p.before.CRI.Mirrors)+len(p.before.CRI.Configs) > 0
}

// hostsDir is the directory for hosts.toml, on the node: the first that CRI looks
// into.
func (p *planner) hostsDir() string {
	dir, _, _ := strings.Cut(p.before.CRI.ConfigPath, ":")
	if dir == "" {
		return p.Host.Within(p.Host.CertsD())
	}
	return dir
}

// hosts plans a registry's hosts.toml; "_default" is that of registries that have none.
func (p *planner) hosts(registry, text string) {
	p.write(filepath.Join(p.hostsDir(), registry, hostsFile), []byte(written+text))
}

// proxies has registries reached through the proxy: as server. A host that is
// merely a mirror enforces nothing: where it refuses, containerd goes on.
func (p *planner) proxies() error {
	if p.Proxy == "" {
		return nil
	}
	u, err := url.Parse(p.Proxy)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("proxy %q: not a URL such as https://proxy.example:5443", p.Proxy)
	}
	if p.Distribution.CertsD != "" {
		return fmt.Errorf("%s writes hosts.toml by itself: name %s as the endpoint of \"*\" below mirrors in /etc/rancher/%s/registries.yaml, and have disable-default-registry-endpoint: true in its config.yaml, so that no other host is asked", p.Distribution.Name, p.Proxy, p.Distribution.Name)
	}
	registries := p.Registries
	if len(registries) == 0 {
		registries = []string{"_default"}
	}
	for _, r := range registries {
		if r == "" || r == "." || r == ".." || strings.ContainsAny(r, "/ \\") {
			return fmt.Errorf("registry %q: not HOST or HOST:PORT", r)
		}
		path := filepath.Join(p.hostsDir(), r, hostsFile)
		if _, exists, err := p.text(path); err != nil {
			return err
		} else if exists {
			p.note("%s is replaced: its hosts are not asked any more, but the proxy", path)
		}
		p.hosts(r, fmt.Sprintf("server = %q\n", u.Scheme+"://"+u.Host))
	}
	if p.ProxyOnly && p.before.CRI.ConfigPath == "" {
		p.open = append(p.open, fmt.Sprintf("%s: CRI reads no hosts.toml; set config_path = %q in the table registry of its plugin, and restart containerd", p.main(), p.hostsDir()))
	}
	if p.ProxyOnly && p.before.CRI.IgnoresHosts() && len(p.before.CRI.LocalPull) == 0 {
		p.open = append(p.open, fmt.Sprintf("%s: config_path names several directories (%s), of which containerd reads no hosts.toml; let it name %s alone, and restart containerd", p.main(), p.before.CRI.ConfigPath, p.hostsDir()))
	}
	for _, s := range p.before.CRI.Mirrors {
		if p.ProxyOnly {
			p.open = append(p.open, fmt.Sprintf("%s: registry.mirrors (%s) is used in the place of hosts.toml; take it out", p.main(), s))
		}
	}
	return nil
}

// registrySection is what CRI's old tables say of registries.
type registrySection struct {
	Mirrors map[string]struct {
		Endpoint []string `toml:"endpoint"`
	} `toml:"mirrors"`
	Configs map[string]struct {
		Auth map[string]any `toml:"auth"`
		TLS  *struct {
			SkipVerify bool   `toml:"insecure_skip_verify"`
			CA         string `toml:"ca_file"`
			Cert       string `toml:"cert_file"`
			Key        string `toml:"key_file"`
		} `toml:"tls"`
	} `toml:"configs"`
}

// convert writes what a file has in one of these tables to hosts.toml, which means
// the same. Credentials have no place there: they are named, and are the kubelet's
// business from then on.
func (p *planner) convert(file string, text []byte, table string) error {
	var all struct {
		Plugins map[string]struct {
			Registry registrySection `toml:"registry"`
		} `toml:"plugins"`
	}
	if err := toml.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, plugin := range criPlugins {
		section := all.Plugins[plugin].Registry
		switch table {
		case "registry.mirrors":
			for _, registry := range slices.Sorted(maps.Keys(section.Mirrors)) {
				if err := p.convertMirror(registry, section); err != nil {
					return err
				}
			}
		case "registry.configs":
			for _, registry := range slices.Sorted(maps.Keys(section.Configs)) {
				if len(section.Configs[registry].Auth) > 0 {
					p.credentials(file, registry)
				}
				if _, mirrored := section.Mirrors[registry]; mirrored || section.Configs[registry].TLS == nil {
					continue
				}
				var out bytes.Buffer
				fmt.Fprintf(&out, "server = %q\n", "https://"+upstream(registry))
				section.tls(&out, registry, "")
				p.hosts(registry, out.String())
			}
		case "registry.auths":
			p.credentials(file, "the registries in registry.auths")
		}
	}
	return nil
}

func (p *planner) credentials(file, registry string) {
	p.note("%s: the credentials for %s are taken out, and used no more: hand them to pods as imagePullSecrets, or to the kubelet as a credential provider, and to Touchmark in containerd/auth.json", file, registry)
}

// convertMirror writes one registry's mirrors.
func (p *planner) convertMirror(registry string, section registrySection) error {
	var out bytes.Buffer
	name := registry
	if registry == "*" {
		name = "_default"
	} else {
		fmt.Fprintf(&out, "server = %q\n", "https://"+upstream(registry))
		section.tls(&out, registry, "")
	}
	for _, endpoint := range section.Mirrors[registry].Endpoint {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("an endpoint of " + registry + " is not a URL; write hosts.toml by hand")
		}
		if u.User != nil { // hosts.toml is for everybody to read, and has no users
			return errors.New("the endpoint " + u.Redacted() + " has a password, which hosts.toml has no place for: take it out, and hand it to the kubelet as a credential provider")
		}
		fmt.Fprintf(&out, "\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", endpoint)
		if strings.Trim(u.Path, "/") != "" {
			fmt.Fprintf(&out, "  override_path = true\n")
		}
		section.tls(&out, u.Host, "  ")
	}
	p.hosts(name, out.String())
	return nil
}

// tls writes what the table says of the connection to a host.
func (s registrySection) tls(out *bytes.Buffer, host, indent string) {
	t := s.Configs[host].TLS
	if t == nil {
		return
	}
	if t.CA != "" {
		fmt.Fprintf(out, "%sca = %q\n", indent, t.CA)
	}
	if t.Cert != "" {
		fmt.Fprintf(out, "%sclient = [[%q, %q]]\n", indent, t.Cert, t.Key)
	}
	if t.SkipVerify { // config.toml says insecure_skip_verify of this very host: hosts.toml means the same, and no other host gets it
		fmt.Fprintf(out, "%sskip_verify = true\n", indent)
	}
}

// upstream is the host of a registry: Docker Hub's has another name than its images.
func upstream(registry string) string {
	if registry == "docker.io" {
		return "registry-1.docker.io"
	}
	return registry
}

// Package clientconfig writes what clients need to pull through a running proxy.
//
// The proxy is always written as the place of the registry (server, location),
// and never as a mirror: clients ask the registry itself when a mirror refuses,
// so that a mirror enforces nothing.
package clientconfig

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// Proxy is a running proxy as its clients see it.
type Proxy struct {
	// URL is scheme://host[:port].
	URL string
	// Names are the only ones that it goes by, HOST or HOST:PORT, besides the registries' hosts; nil if it goes by any.
	Names []string
	// CA are the certificates, in PEM, of the authority of the proxy's certificate; nil for one that clients' systems know.
	CA []byte
	// Countersigner are those of the authority of the proxy's own signatures, which podman then demands; nil if it does not
	// countersign.
	Countersigner []byte
	// Registries are what it fronts.
	Registries []config.Registry
}

// authority is where clients whose configuration names a file have the authority of the proxy's certificate.
const authority = "/etc/touchmark/proxy-ca.pem"

// File is a file on a client's machine.
type File struct {
	Path    string
	Content string
}

// Certificates are those in a PEM file, for [Proxy], without whatever else stands there: a private key, for instance.
func Certificates(file []byte) ([]byte, error) {
	var all []byte
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("reading certificates: %w", err)
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if all == nil {
		return nil, errors.New("reading certificates: there is none, in PEM")
	}
	return all, nil
}

// check returns the proxy's URL.
func (p Proxy) check() (*url.URL, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("the proxy's address is not of the form https://host[:port]")
	}
	if strings.ContainsAny(p.URL, "\"\\\n") {
		return nil, fmt.Errorf("%q cannot stand in a file", p.URL)
	}
	proxy := &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	return proxy, p.goesBy(proxy)
}

// goesBy says why registries without hosts of their own cannot be asked for at the proxy's address.
func (p Proxy) goesBy(proxy *url.URL) error {
	without := slices.IndexFunc(p.Registries, func(r config.Registry) bool { return len(r.Hosts) == 0 })
	if without < 0 {
		return nil // of the address, the port alone counts
	}
	own := p.Names
	for i, r := range p.Registries {
		if slices.Contains(r.Hosts, proxy.Host) || slices.Contains(r.Hosts, proxy.Hostname()) {
			return fmt.Errorf("%s stands for registries[%d] alone, and registries[%d] has no hosts: give the proxy's own name", proxy.Host, i, without)
		}
		own = slices.Concat(own, r.Hosts)
	}
	if len(p.Names) > 0 && !registryproxy.GoesBy(own, proxy.Host) {
		return fmt.Errorf("the proxy does not go by %s, and would answer 421: add it to names in its configuration, or give one of those (%s)", proxy.Host, strings.Join(slices.Compact(slices.Sorted(slices.Values(p.Names))), ", "))
	}
	return nil
}

// at is the URL of one registry: its own host, or the proxy's.
func at(proxy *url.URL, r config.Registry) *url.URL {
	if len(r.Hosts) == 0 {
		return proxy
	}
	own := *proxy
	own.Host = r.Hosts[0]
	if port := proxy.Port(); port != "" && !strings.Contains(own.Host, ":") {
		own.Host += ":" + port
	}
	return &own
}

// signers says, in the words of one client, how images come into the registry.
func signers(r config.Registry) string {
	return "# The proxy is read-only. Those who push and sign talk to the registry itself, " + safe(r.Upstream) + ",\n# from machines without this file.\n"
}

// safe is a URL without what may be a password, on one line.
func safe(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "its upstream"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

// Containerd returns a hosts.toml for each registry, for containerd's registry.config_path.
func (p Proxy) Containerd() ([]File, error) { return p.hosts("/etc/containerd/certs.d", "") }

// hosts writes hosts.toml files below a directory, with a comment. containerd names the registry itself, by ?ns=.
func (p Proxy) hosts(dir, comment string) ([]File, error) {
	proxy, err := p.check()
	if err != nil {
		return nil, err
	}
	var files []File
	for _, r := range p.Registries {
		var b strings.Builder
		b.WriteString("# Touchmark: images of " + r.LogicalName() + " come from the proxy, and from nowhere else. There must be no [host] here.\n" + comment + signers(r))
		fmt.Fprintf(&b, "server = %q\ncapabilities = [\"pull\", \"resolve\"]\n", at(proxy, r))
		if p.CA != nil {
			fmt.Fprintf(&b, "ca = %q\n", authority)
		}
		files = append(files, File{Path: path.Join(dir, r.LogicalName(), "hosts.toml"), Content: b.String()})
	}
	if p.CA != nil {
		files = append(files, File{Path: authority, Content: string(p.CA)})
	}
	return files, nil
}

// Podman returns a drop-in of registries.conf, for podman, skopeo, buildah and CRI-O. Older ones do not name the registry in
// requests, so that one of several needs a host or a prefix.
func (p Proxy) Podman() ([]File, error) {
	proxy, err := p.check()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("# Touchmark: images come from the proxy, and from nowhere else. There must be no [[registry.mirror]] here.\n")
	for i, r := range p.Registries {
		location := at(proxy, r).Host
		switch {
		case len(r.Hosts) > 0, r.Prefix == "" && len(p.Registries) == 1:
		case r.Prefix != "":
			location += "/" + r.Prefix
		default:
			return nil, fmt.Errorf("registries[%d]: %s has neither hosts nor a prefix, and podman needs one of them to say which registry it means", i, r.LogicalName())
		}
		fmt.Fprintf(&b, "\n%s[[registry]]\nprefix = %q\nlocation = %q\n", signers(r), r.LogicalName(), location)
		if proxy.Scheme == "http" {
			b.WriteString("insecure = true # plain HTTP\n")
		}
	}
	files := []File{{Path: "/etc/containers/registries.conf.d/50-touchmark-proxy.conf", Content: b.String()}}
	if p.Countersigner != nil {
		demands, err := p.demands(proxy)
		if err != nil {
			return nil, err
		}
		files = append(files, demands...)
	}
	return append(files, p.certsD(proxy, "/etc/containers/certs.d")...), nil
}

// dockerReads is a comment in Docker's hosts.toml.
const dockerReads = "# Docker reads this from 28.0 on, with its containerd image store, if daemon.json has no registry-mirrors. An older one\n" +
	"# asks the registry itself: pull by the proxy's own name there.\n"

// Docker returns daemon.json and a hosts.toml for each registry. Docker reads the latter from 28.0 on, and only with its
// containerd image store; otherwise images are pulled by the proxy's own name.
func (p Proxy) Docker() ([]File, error) {
	files, err := p.hosts("/etc/docker/certs.d", dockerReads)
	if err != nil {
		return nil, err
	}
	proxy, _ := p.check() // hosts did
	daemon := "{\n  \"features\": {\"containerd-snapshotter\": true}"
	if proxy.Scheme == "http" {
		var insecure []string
		for _, host := range p.addresses(proxy) {
			if addr, err := netip.ParseAddrPort(host); err != nil || !addr.Addr().IsLoopback() { // those are insecure anyway
				insecure = append(insecure, fmt.Sprintf("%q", host))
			}
		}
		if insecure != nil {
			daemon += ",\n  \"insecure-registries\": [" + strings.Join(insecure, ", ") + "]"
		}
	}
	return append(append([]File{{Path: "/etc/docker/daemon.json", Content: daemon + "\n}\n"}}, files...), p.certsD(proxy, "/etc/docker/certs.d")...), nil
}

// certsD are the files where clients of one kind look for the proxy's authority.
func (p Proxy) certsD(proxy *url.URL, dir string) []File {
	if p.CA == nil {
		return nil
	}
	var files []File
	for _, host := range p.addresses(proxy) {
		files = append(files, File{Path: path.Join(dir, host, "ca.crt"), Content: string(p.CA)})
	}
	return files
}

// addresses are where clients reach the registries, HOST or HOST:PORT, each once.
func (p Proxy) addresses(proxy *url.URL) []string {
	var all []string
	for _, r := range p.Registries {
		if host := at(proxy, r).Host; !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

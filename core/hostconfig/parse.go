package hostconfig

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/configfile/yamlfile"
)

// Error is what is wrong in a file.
type Error = yamlfile.Error

// document is the file as it is written.
type document struct {
	Policy string `yaml:"policy"`
	Trust  struct {
		Dir      string `yaml:"dir"`
		MaxStale string `yaml:"maxStale"`
		TUF      []struct {
			Name   string `yaml:"name"`
			Mirror string `yaml:"mirror"`
			Root   string `yaml:"root"`
		} `yaml:"tuf"`
	} `yaml:"trust"`
	Agent struct {
		Listen string `yaml:"listen"`
		Socket string `yaml:"socket"`
		State  string `yaml:"state"`
	} `yaml:"agent"`
	Podman struct {
		Key      string   `yaml:"key"`
		Form     string   `yaml:"form"`
		Validity string   `yaml:"validity"`
		Scopes   []string `yaml:"scopes"`
	} `yaml:"podman"`
	Containerd struct {
		Config      string   `yaml:"config"`
		Hosts       []string `yaml:"hosts"`
		Credentials string   `yaml:"credentials"`
		Providers   struct {
			Config string `yaml:"config"`
			Bin    string `yaml:"bin"`
		} `yaml:"credentialProviders"`
		VerifierTimeout string   `yaml:"verifierTimeout"`
		Standalone      *bool    `yaml:"standalone"`
		Observe         bool     `yaml:"observe"`
		NRI             bool     `yaml:"nri"`
		NRISocket       string   `yaml:"nriSocket"`
		Socket          string   `yaml:"socket"`
		Namespaces      []string `yaml:"namespaces"`
	} `yaml:"containerd"`
}

// parser turns one document into a Config.
type parser struct{ *yamlfile.File }

// Parse reads the content of a file. path is the file's, absolute.
func Parse(data []byte, path string, d Defaults) (*Config, error) {
	doc := new(document)
	file, err := yamlfile.Decode(data, path, doc)
	if err != nil {
		return nil, err
	}
	p := &parser{file}
	c := New(path, d)
	for _, step := range []func(*document, *Config) error{p.rules, p.agent, p.podman, p.containerd} {
		if err := step(doc, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// rules reads policy and trust.
func (p *parser) rules(doc *document, c *Config) error {
	c.Policy = p.Path(doc.Policy, c.Policy)
	c.Trust.Dir = p.Path(doc.Trust.Dir, c.Trust.Dir)
	if doc.Trust.MaxStale != "" {
		d, err := configfile.ParseDuration(doc.Trust.MaxStale)
		if err != nil || d < 0 {
			return p.Fail("trust.maxStale", "%q is not a time such as 30d or 36h", doc.Trust.MaxStale)
		}
		c.Trust.MaxStale = d
	}
	seen := make(map[string]bool)
	for i, t := range doc.Trust.TUF {
		field := fmt.Sprintf("trust.tuf[%d]", i)
		switch {
		case !name().MatchString(t.Name):
			return p.Fail(field+".name", "%q is not a name of letters, digits, '-', '_' and '.'", t.Name)
		case seen[t.Name]:
			return p.Fail(field+".name", "%q stands twice", t.Name)
		case t.Mirror != PublicGood && t.Root == "":
			return p.Fail(field+".root", "is missing: the root.json that the operators of the repository handed out")
		}
		if t.Mirror != PublicGood {
			if u, err := url.Parse(t.Mirror); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
				return p.Fail(field+".mirror", "want the URL of a TUF repository without credentials, or %s", PublicGood)
			}
		}
		seen[t.Name] = true
		c.Trust.TUF = append(c.Trust.TUF, TUF{Name: t.Name, Mirror: t.Mirror, Root: p.Path(t.Root, "")})
	}
	return nil
}

// PublicGood stands for the TUF repository of Sigstore's public instance.
const PublicGood = "public-good"

// name is what a TUF repository may be called: its directory has that name. It is
// compiled where there is one: touchmark-containerd reads a file for each pull.
var name = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\z`) })

// maxSocket is how long a unix socket's path may be, by the kernel.
const maxSocket = 107

// agent reads how the agent is reached.
func (p *parser) agent(doc *document, c *Config) error {
	if doc.Agent.Listen != "" {
		c.Agent.Listen = doc.Agent.Listen
		if err := checkLoopback(c.Agent.Listen); err != nil {
			return p.Fail("agent.listen", "%v", err)
		}
	}
	c.Agent.Socket = p.Path(doc.Agent.Socket, c.Agent.Socket)
	if len(c.Agent.Socket) > maxSocket {
		return p.Fail("agent.socket", "%s is longer than the %d bytes that a socket's path may have", c.Agent.Socket, maxSocket)
	}
	c.Agent.State = p.Path(doc.Agent.State, c.Agent.State)
	return nil
}

// checkLoopback refuses an address that others than this host can reach: the
// agent tells users apart by their uid, which a network does not carry.
func checkLoopback(listen string) error {
	addr, err := netip.ParseAddrPort(listen)
	switch {
	case err != nil || !addr.Addr().IsLoopback():
		return fmt.Errorf("%q is not a loopback address such as 127.0.0.1:%s", listen, Port)
	case addr.Port() == 0:
		return fmt.Errorf("%q has no port of 1 to 65535", listen)
	}
	return nil
}

// podman reads what the enforcement in podman works with.
func (p *parser) podman(doc *document, c *Config) error {
	c.Podman.Key = p.key(doc.Podman.Key, c.Podman.Key)
	switch doc.Podman.Form {
	case "":
	case OpenPGP, Sigstore:
		c.Podman.Form = doc.Podman.Form
	default:
		return p.Fail("podman.form", "%q is neither %s nor %s", doc.Podman.Form, OpenPGP, Sigstore)
	}
	if doc.Podman.Validity != "" {
		d, err := time.ParseDuration(doc.Podman.Validity)
		if err != nil || d < time.Minute || d > MaxValidity {
			return p.Fail("podman.validity", "%q is not a time of 1m to %s", doc.Podman.Validity, "10m")
		}
		c.Podman.Validity = d
	}
	c.Podman.Scopes = doc.Podman.Scopes
	return nil
}

// containerd reads what the enforcement in containerd works with.
func (p *parser) containerd(doc *document, c *Config) error {
	c.Containerd.Config = p.Path(doc.Containerd.Config, c.Containerd.Config)
	c.Containerd.Credentials = p.Path(doc.Containerd.Credentials, c.Containerd.Credentials)
	for _, dir := range doc.Containerd.Hosts {
		c.Containerd.Hosts = append(c.Containerd.Hosts, p.Path(dir, ""))
	}
	switch providers := doc.Containerd.Providers; {
	case providers.Config == "" && providers.Bin != "":
		return p.Fail("containerd.credentialProviders.config", "is missing: the kubelet's --image-credential-provider-config")
	case providers.Config != "" && providers.Bin == "":
		return p.Fail("containerd.credentialProviders.bin", "is missing: the kubelet's --image-credential-provider-bin-dir")
	default:
		c.Containerd.CredentialProviders = CredentialProviders{Config: p.Path(providers.Config, ""), Bin: p.Path(providers.Bin, "")}
	}
	if text := doc.Containerd.VerifierTimeout; text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second || d > maxVerifierTimeout {
			return p.Fail("containerd.verifierTimeout", "%q is not a time of 1s to %s", text, "10m")
		}
		c.Containerd.VerifierTimeout = d
	}
	if doc.Containerd.Standalone != nil {
		c.Containerd.Standalone = *doc.Containerd.Standalone
	}
	c.Containerd.Observe, c.Containerd.NRI = doc.Containerd.Observe, doc.Containerd.NRI
	for field, socket := range map[string]struct {
		written string
		path    *string
	}{"containerd.nriSocket": {doc.Containerd.NRISocket, &c.Containerd.NRISocket}, "containerd.socket": {doc.Containerd.Socket, &c.Containerd.Socket}} {
		if *socket.path = p.Path(socket.written, *socket.path); len(*socket.path) > maxSocket {
			return p.Fail(field, "%s is longer than the %d bytes that a socket's path may have", *socket.path, maxSocket)
		}
	}
	for i, ns := range doc.Containerd.Namespaces {
		if len(ns) > maxNamespace || !namespace().MatchString(ns) {
			return p.Fail(fmt.Sprintf("containerd.namespaces[%d]", i), "%q is not a name of containerd's namespaces", ns)
		}
	}
	c.Containerd.Namespaces = doc.Containerd.Namespaces
	return nil
}

// maxNamespace is how long the name of one of containerd's namespaces may be, and
// namespace what it looks like: containerd's own rules (pkg/identifiers).
const maxNamespace = 76

var namespace = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A[A-Za-z0-9]+([._-][A-Za-z0-9]+)*\z`) })

// maxVerifierTimeout bounds containerd.verifierTimeout: a pull that waits longer
// for a verdict is broken.
const maxVerifierTimeout = 10 * time.Minute

// key is the path of a key file, made absolute, or the URI of a key elsewhere.
func (p *parser) key(written, byDefault string) string {
	if strings.Contains(written, ":") && !filepath.IsAbs(written) {
		return written // gcpkms://..., pkcs11:...
	}
	return p.Path(written, byDefault)
}

package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/touchmark/touchmark/core/configfile/yamlfile"
	"github.com/touchmark/touchmark/core/loopback"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/auth"
	"github.com/touchmark/touchmark/registry-proxy/tracing"
)

// document is the file as it is written.
type document struct {
	Listen    string   `yaml:"listen"`
	Balancers []string `yaml:"balancers"`
	Names     []string `yaml:"names"`
	TLS       struct {
		Cert     string `yaml:"cert"`
		Key      string `yaml:"key"`
		ClientCA string `yaml:"clientCA"`
	} `yaml:"tls"`
	InsecureHTTP bool       `yaml:"insecureHTTP"`
	Policy       string     `yaml:"policy"`
	Trust        []root     `yaml:"trust"`
	State        string     `yaml:"state"`
	Registries   []registry `yaml:"registries"`
	Auth         *struct {
		Htpasswd  string   `yaml:"htpasswd"`
		OIDC      []issuer `yaml:"oidc"`
		Anonymous bool     `yaml:"anonymous"`
		Access    []struct {
			Subjects     []string `yaml:"subjects"`
			Repositories []string `yaml:"repositories"`
			Page         bool     `yaml:"page"`
		} `yaml:"access"`
	} `yaml:"auth"`
	Metrics struct {
		Listen string `yaml:"listen"`
	} `yaml:"metrics"`
	Decisions struct {
		File string `yaml:"file"`
	} `yaml:"decisions"`
	Tracing struct {
		Endpoint string `yaml:"endpoint"`
	} `yaml:"tracing"`
	Page  bool `yaml:"page"`
	Cache struct {
		Dir  string `yaml:"dir"`
		Size string `yaml:"size"`
	} `yaml:"cache"`
	Offline string `yaml:"offline"`
	Peers   struct {
		Listen     string   `yaml:"listen"`
		URLs       []string `yaml:"urls"`
		DNS        string   `yaml:"dns"`
		SecretFile string   `yaml:"secretFile"`
	} `yaml:"peers"`
	Countersign struct {
		Key       string   `yaml:"key"`
		Authority string   `yaml:"authority"`
		Names     []string `yaml:"names"`
		Validity  string   `yaml:"validity"`
	} `yaml:"countersign"`
}

type issuer struct {
	Name     string            `yaml:"name"`
	Issuer   string            `yaml:"issuer"`
	Audience string            `yaml:"audience"`
	Claim    string            `yaml:"claim"`
	Claims   map[string]string `yaml:"claims"`
	CA       string            `yaml:"ca"`
}

type registry struct {
	Name        string   `yaml:"name"`
	Upstream    string   `yaml:"upstream"`
	AllowHTTP   bool     `yaml:"allowHTTP"`
	Hosts       []string `yaml:"hosts"`
	Prefix      string   `yaml:"prefix"`
	Credentials struct {
		DockerConfig string `yaml:"dockerConfig"`
		Username     string `yaml:"username"`
		PasswordFile string `yaml:"passwordFile"`
	} `yaml:"credentials"`
	CA          string   `yaml:"ca"`
	TokenHosts  []string `yaml:"tokenHosts"`
	PassThrough bool     `yaml:"passThrough"`
	Policy      string   `yaml:"policy"`
	Trust       []root   `yaml:"trust"`
	Mode        string   `yaml:"mode"`
	Limits      struct {
		Fetches int     `yaml:"fetches"`
		Rate    float64 `yaml:"rate"`
	} `yaml:"limits"`
}

// parser turns one document into a Config.
type parser struct {
	*yamlfile.File
	followed map[string]Root // by name
}

// Parse reads the content of a file. path is the file's, absolute.
func Parse(data []byte, path string) (*Config, error) {
	doc := new(document)
	file, err := yamlfile.Decode(data, path, doc)
	if err != nil {
		return nil, err
	}
	p := parser{File: file, followed: map[string]Root{}}
	c := &Config{File: path}
	for _, step := range []func(*document, *Config) error{p.listener, p.registries, p.auth, p.operations, p.storage, p.countersign} {
		if err := step(doc, c); err != nil {
			return nil, err
		}
	}
	if field, problem := c.exposed(); field != "" {
		return nil, p.Fail(field, "%s", problem)
	}
	return c, nil
}

func (p parser) listener(doc *document, c *Config) error {
	c.Listen = DefaultListen
	if doc.Listen != "" {
		c.Listen = doc.Listen
	}
	if err := checkAddress(c.Listen); err != nil {
		return p.Fail("listen", "%v", err)
	}
	balancers, field, err := registryproxy.ParseBalancers(doc.Balancers)
	if err != nil {
		return p.Fail(field, "%v", err)
	}
	c.Balancers = balancers
	if err := p.names("names", doc.Names); err != nil {
		return err
	}
	c.Names, c.InsecureHTTP = doc.Names, doc.InsecureHTTP
	c.TLS = TLS{Cert: p.Path(doc.TLS.Cert, ""), Key: p.Path(doc.TLS.Key, ""), ClientCA: p.Path(doc.TLS.ClientCA, "")}
	switch {
	case (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return p.Fail("tls", "cert and key go together")
	case c.TLS.ClientCA != "" && c.TLS.Cert == "":
		return p.Fail("tls.clientCA", "clients show certificates over TLS only; set cert and key")
	}
	return nil
}

// names refuses what cannot be what clients call the proxy.
func (p parser) names(field string, names []string) error {
	for i, name := range names {
		if name == "" || name != strings.ToLower(name) || strings.ContainsAny(name, "/@ ") {
			return p.Fail(fmt.Sprintf("%s[%d]", field, i), "%q is not HOST or HOST:PORT, in lower case", name)
		}
	}
	return nil
}

// checkAddress refuses what is not HOST:PORT; port 0 takes a free one.
func checkAddress(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port of 0 to 65535", listen)
	}
	if _, err := netip.ParseAddr(host); host != "" && host != "localhost" && err != nil {
		return fmt.Errorf("%q: want an IP address, localhost, or nothing for all addresses", host)
	}
	return nil
}

func (p parser) registries(doc *document, c *Config) error {
	c.State = p.Path(doc.State, DefaultState)
	shared, err := p.trust("trust", doc.Trust)
	if err != nil {
		return err
	}
	if len(doc.Registries) == 0 {
		return p.Fail("registries", "is missing: what this proxy stands in front of")
	}
	for i, d := range doc.Registries {
		field := fmt.Sprintf("registries[%d]", i)
		r := Registry{
			Name: d.Name, Upstream: d.Upstream, AllowHTTP: d.AllowHTTP, Hosts: d.Hosts, Prefix: d.Prefix, TokenHosts: d.TokenHosts,
			CA: p.Path(d.CA, ""), PassThrough: d.PassThrough, Policy: p.Path(doc.Policy, ""), Trust: shared,
			Credentials: Credentials{DockerConfig: p.Path(d.Credentials.DockerConfig, ""), Username: d.Credentials.Username, PasswordFile: p.Path(d.Credentials.PasswordFile, "")},
			Limits:      Limits{Fetches: d.Limits.Fetches, Rate: d.Limits.Rate},
		}
		if d.Policy != "" {
			r.Policy = p.Path(d.Policy, "")
		}
		if len(d.Trust) > 0 {
			if r.Trust, err = p.trust(field+".trust", d.Trust); err != nil {
				return err
			}
		}
		switch d.Mode {
		case "", "enforce":
		case "observe":
			r.Observe = true
		default:
			return p.Fail(field+".mode", "%q is neither enforce nor observe", d.Mode)
		}
		if f, problem := r.check(); f != "" {
			return p.Fail(field+"."+f, "%s", problem)
		}
		c.Registries = append(c.Registries, r)
	}
	if field, err := c.checkAddresses(); err != nil {
		return p.Fail(field, "%v", err)
	}
	if field, problem := c.leaks(); field != "" {
		return p.Fail(field, "%s", problem)
	}
	return nil
}

// leaks says which name of the proxy leads to a registry whose clients are passed through: with the passwords of those who log in
// there for another one.
func (c *Config) leaks() (field, problem string) {
	if len(c.Registries) == 1 {
		return "", ""
	}
	for i, r := range c.Registries {
		for j, name := range c.Names {
			covered := slices.ContainsFunc(r.Hosts, func(host string) bool { return host == name || host == loopback.Hostname(name) }) // a host stands for all its ports
			if r.PassThrough && covered {
				return fmt.Sprintf("names[%d]", j), fmt.Sprintf("%q is covered by registries[%d].hosts, whose clients are passed through: with what clients of the others log in to it would go to that upstream; give the registry a host of its own, or one with its port", name, i)
			}
		}
	}
	return "", ""
}

// checkAddresses says which registry could not be addressed.
func (c *Config) checkAddresses() (field string, err error) {
	var all []registryproxy.Address
	for _, r := range c.Registries {
		all = append(all, registryproxy.Address{Registry: r.LogicalName(), Hosts: r.Hosts, Prefix: r.Prefix, PassThrough: r.PassThrough})
	}
	return registryproxy.CheckAddresses(all)
}

// check says which field is wrong, and why.
func (r Registry) check() (field, problem string) {
	u, err := url.Parse(r.Upstream)
	switch {
	case r.Upstream == "":
		return "upstream", "is missing"
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "upstream", "is not a URL such as https://registry.example" // not repeated: it may hold a password
	case u.Scheme == "http" && !r.AllowHTTP && !loopback.Host(u.Hostname()):
		return "upstream", "is plain HTTP: anybody on the way could answer in the registry's place; set allowHTTP: true if that is meant"
	case r.Policy == "":
		return "policy", "is missing: give one here, or one for all registries"
	case (r.Credentials.Username == "") != (r.Credentials.PasswordFile == ""):
		return "credentials", "username and passwordFile go together"
	case r.Credentials.DockerConfig != "" && r.Credentials.Username != "":
		return "credentials", "want either dockerConfig or username with passwordFile"
	case r.PassThrough && r.Credentials != Credentials{}:
		return "credentials", "are never used with passThrough; leave one of the two out"
	case r.Limits.Fetches < 0 || r.Limits.Fetches > 4096:
		return "limits.fetches", "is not a number of 1 to 4096"
	case r.Limits.Rate < 0:
		return "limits.rate", "is not a number of requests per second"
	}
	for _, host := range r.TokenHosts {
		if strings.ContainsAny(host, "/@ ") {
			return "tokenHosts", fmt.Sprintf("%q is not HOST or HOST:PORT", host)
		}
	}
	return "", ""
}

func (p parser) auth(doc *document, c *Config) error {
	c.Auth.Certificates = c.TLS.ClientCA != ""
	if doc.Auth == nil {
		return nil
	}
	a := doc.Auth
	c.Auth.Htpasswd, c.Auth.Anonymous = p.Path(a.Htpasswd, ""), a.Anonymous
	for _, i := range a.OIDC {
		c.Auth.Issuers = append(c.Auth.Issuers, auth.Issuer{Name: i.Name, URL: i.Issuer, Audience: i.Audience, Claim: i.Claim, Claims: i.Claims, CA: p.Path(i.CA, "")})
	}
	for _, r := range a.Access {
		c.Auth.Access = append(c.Auth.Access, auth.Rule{Subjects: r.Subjects, Repositories: r.Repositories, Page: r.Page})
	}
	if field, err := c.Auth.Check(); err != nil {
		return p.Fail("auth."+field, "%v", err)
	}
	return nil
}

func (p parser) operations(doc *document, c *Config) error {
	c.Metrics, c.Decisions, c.Tracing, c.Page = doc.Metrics.Listen, p.Path(doc.Decisions.File, ""), doc.Tracing.Endpoint, doc.Page
	if c.Tracing != "" {
		if err := tracing.Check(c.Tracing); err != nil {
			return p.Fail("tracing.endpoint", "%v", err)
		}
	}
	if c.Metrics != "" {
		if err := checkAddress(c.Metrics); err != nil {
			return p.Fail("metrics.listen", "%v", err)
		}
	}
	return nil
}

// exposed says what is not said of a proxy that others than its own machine can
// reach, at its address or by a balancer: who may read, and that passwords may cross
// the network in the clear. Where nothing is said of one that only its machine can
// reach, that may read.
func (c *Config) exposed() (field, problem string) {
	host, _, _ := net.SplitHostPort(c.Listen) // was checked
	nobody := c.Auth.Htpasswd == "" && len(c.Auth.Issuers) == 0 && !c.Auth.Certificates && !c.Auth.Anonymous
	for _, r := range c.Registries {
		nobody = nobody && !r.PassThrough
	}
	here := loopback.Host(host)
	switch {
	case here && len(c.Balancers) == 0:
		if nobody {
			c.Auth.Anonymous, c.Auth.AnonymousDetails = true, true
		}
		return "", ""
	case nobody && here:
		return "auth", "is missing: others than this machine reach " + c.Listen + " by the balancers; say who may read, or anonymous: true for everybody"
	case nobody:
		return "auth", "is missing: others than this machine reach " + c.Listen + "; say who may read, or anonymous: true for everybody"
	case c.TLS.Cert == "" && !c.InsecureHTTP && !here:
		return "tls", "is missing: what is sent to and from " + c.Listen + " could be read and changed on the way; set insecureHTTP: true if something else encrypts it"
	}
	return "", ""
}

// Check is for a configuration that was not read from a file: it fills in the
// defaults and says which field is wrong.
func (c *Config) Check() error {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if err := checkAddress(c.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for i, r := range c.Registries {
		if field, problem := r.check(); field != "" {
			return fmt.Errorf("registries[%d].%s: %s", i, field, problem)
		}
	}
	if field, problem := c.exposed(); field != "" {
		return fmt.Errorf("%s: %s", field, problem)
	}
	return nil
}

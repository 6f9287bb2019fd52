// Package config reads proxy.yaml, which says what `touchmark proxy` fronts and
// for whom:
//
//	listen: 0.0.0.0:5443
//	balancers: [10.0.0.0/8, 192.0.2.7] # whose X-Forwarded-For says what address a client has
//	names: [proxy.example]            # the only ones that it goes by, besides hosts, localhost and IP addresses
//	tls: {cert: proxy.pem, key: proxy.key, clientCA: clients.pem} # clientCA: certificates that clients may show
//	policy: policy.d                  # file of policy documents, or directory of them
//	trust:
//	- {name: acme, file: trusted_root.json}
//	- {name: public-good}             # Sigstore's own, which is built in
//	- {name: west, mirror: "https://sigstore.west.example/tuf", root: root.json, ca: west-ca.pem, maxStale: 30d} # followed by TUF
//	state: /var/lib/touchmark-proxy   # what was seen of the trust roots that are followed
//	registries:
//	- name: docker.io                 # as policies call it, and in ?ns=
//	  upstream: https://registry-1.docker.io
//	  hosts: [hub.example]            # addressed by this host name,
//	  prefix: hub                     # or as <proxy>/hub/library/alpine
//	  credentials: {dockerConfig: auth.json} # or {username: robot, passwordFile: robot.secret}
//	- name: registry.acme.example
//	  upstream: https://10.0.0.5:5000
//	  ca: acme-ca.pem                 # besides the system's authorities
//	  tokenHosts: [login.acme.example]
//	  passThrough: true               # the client's credentials, and the upstream's rights
//	  policy: acme.d                  # in the place of the shared policy and trust
//	  trust: [{name: acme, file: trusted_root.json}]
//	  mode: observe                   # or enforce, which is the default
//	  limits: {fetches: 64, rate: 50} # manifests at once, requests to the upstream per second
//	auth:
//	  htpasswd: users                 # bcrypt alone
//	  oidc:
//	  - {issuer: "https://login.acme.example", audience: touchmark-proxy, claim: email} # and a name, if there are several
//	  anonymous: true                 # whoever reaches the address
//	  access:
//	  - {subjects: [anonymous], repositories: [docker.io/library/*]}
//	  - {subjects: ["user:*", "oidc:*@acme.example"], repositories: ["**"], page: true}
//	metrics: {listen: 127.0.0.1:9465} # with /healthz and /readyz
//	decisions: {file: /var/log/touchmark/decisions.jsonl}
//	tracing: {endpoint: "https://collector.example:4318"} # OpenTelemetry's, by OTLP over HTTP
//	page: true                        # for people, at /
//	cache: {dir: /var/cache/touchmark-proxy, size: 50GiB}
//	offline: 168h                     # how long answers of an upstream that is down are good
//	peers: {listen: 0.0.0.0:5444, dns: "proxies.example:5444", secretFile: peers.secret}
//	countersign: {key: countersign.key, authority: countersign.pem, names: [proxy.example], validity: 10m}
//
// All but registries, and policies for them, may be left out. The file is read
// strictly: an unknown field, a field that stands twice, and an empty value are
// errors that name file, line and field. Secrets stand in files of their own.
// Relative paths are relative to the file's directory; a [Config] has absolute
// ones only.
package config

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/loopback"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/auth"
)

// maxFile bounds proxy.yaml, in bytes; one with a hundred registries has 30 KiB.
const maxFile = 1 << 20

// DefaultListen is where a proxy listens that is not told: only its own machine
// can reach it there.
const DefaultListen = "127.0.0.1:5000"

// Config is what a file says, with defaults for what it leaves out.
type Config struct {
	File         string   // absolute; empty if there is none
	Digest       [32]byte // SHA-256 of the file, so that it can be told whether what runs was made from it; zero if there is none
	Listen       string   // HOST:PORT
	Balancers    registryproxy.Balancers
	Names        []string // what clients call the proxy, HOST or HOST:PORT, besides what registries and Countersign name
	TLS          TLS
	InsecureHTTP bool // plain HTTP, although others than this machine reach the address
	Registries   []Registry
	Auth         auth.Config
	Metrics      string // HOST:PORT; empty for none
	Decisions    string // file; empty for none
	Tracing      string // URL of a collector; empty for none
	Page         bool
	Cache        Cache
	State        string        // directory
	Offline      time.Duration // 0 for not at all
	Peers        Peers
	Countersign  Countersign
}

// Countersign has the signatures of admitted images include the proxy's own, which
// stock policy.json can demand.
type Countersign struct {
	Key       string        // file, or the URI of a key elsewhere; empty for none
	Authority string        // file with the authority's certificates, for clients
	Names     []string      // of the proxy, HOST or HOST:PORT, as clients write it
	Validity  time.Duration // of a countersignature; 0 for the default
}

// Of is the key with its authority, where keys elsewhere are opened with these options.
func (c Countersign) Of(options keys.Options) countersign.Config {
	return countersign.Config{Form: countersign.Sigstore, Key: c.Key, Public: c.Authority, Validity: c.Validity, Keys: options, Host: "touchmark proxy"}
}

// TLS is how the proxy is reached by HTTPS.
type TLS struct {
	Cert, Key string // files; empty for plain HTTP
	ClientCA  string // file; empty if clients have no certificates
}

// Registry is one upstream registry.
type Registry struct {
	Name        string // in policies; empty for the upstream's host
	Upstream    string // URL
	AllowHTTP   bool   // plain HTTP to another machine
	Hosts       []string
	Prefix      string
	Credentials Credentials
	CA          string // file; empty for the system's authorities alone
	TokenHosts  []string
	PassThrough bool
	Policy      string // file or directory
	Trust       []Root
	Observe     bool
	Limits      Limits
}

// Credentials are the proxy's own for an upstream. The zero value is anonymous.
type Credentials struct {
	DockerConfig string // file, in the format of Docker's config.json
	Username     string
	PasswordFile string
	Account      bool // those of "docker login" for the account that the proxy runs under
}

// Limits are what one registry may take. Zero stands for the default.
type Limits struct {
	Fetches int     // manifests that are read at once
	Rate    float64 // requests to the upstream per second
}

// Cache is where admitted images are kept.
type Cache struct {
	Dir  string // empty for none
	Size int64  // bytes
}

// Peers are the other replicas.
type Peers struct {
	Listen     string // HOST:PORT; empty for none
	URLs       []string
	DNS        string // HOST:PORT, a name with an address for each replica
	SecretFile string
}

// Load reads a file.
func Load(path string) (*Config, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	data, err := configfile.Read(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	c, err := Parse(data, path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	c.Digest = sha256.Sum256(data)
	return c, nil
}

// Files are all files, and directories of files, that the proxy is made from. Those
// of TLS are missing: they are looked at with each handshake.
func (c *Config) Files() []string {
	files := []string{c.File, c.TLS.ClientCA, c.Auth.Htpasswd, c.Peers.SecretFile}
	for _, i := range c.Auth.Issuers {
		files = append(files, i.CA)
	}
	for _, r := range c.Registries {
		files = append(files, r.Policy)
		for _, root := range r.Trust {
			files = append(files, c.rootFiles(root)...)
		}
		files = append(files, r.Files()...)
	}
	slices.Sort(files)
	return slices.DeleteFunc(slices.Compact(files), func(f string) bool { return f == "" })
}

// OwnNames are what the proxy goes by, besides the hosts of registries. With only, it must not answer requests for any other
// host name: where names say so, and where whoever makes a browser of this machine send a request would be let in.
func (c *Config) OwnNames() (names []string, only bool) {
	host, _, _ := net.SplitHostPort(c.Listen) // was checked
	open := c.Auth.Anonymous || slices.ContainsFunc(c.Registries, func(r Registry) bool { return r.PassThrough })
	only = len(c.Names) > 0 || loopback.Host(host) && c.TLS.Cert == "" && open // no browser takes the proxy's certificate for another name
	return slices.Concat(c.Names, c.Countersign.Names), only
}

// LogicalName is the registry's name in policies and in ?ns=.
func (r Registry) LogicalName() string {
	if r.Name != "" {
		return r.Name
	}
	u, err := url.Parse(r.Upstream)
	switch {
	case err != nil:
		return ""
	case u.Host == "registry-1.docker.io" || u.Host == "index.docker.io":
		return "docker.io"
	}
	return strings.ToLower(u.Host)
}

// Files are those that the way to the upstream is made from.
func (r Registry) Files() []string {
	return slices.DeleteFunc([]string{r.CA, r.Credentials.DockerConfig, r.Credentials.PasswordFile}, func(f string) bool { return f == "" })
}

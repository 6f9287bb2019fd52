// Package hostconfig reads config.yaml, which says what `touchmark agent` and
// the enforcement points of one host, or of one user, work with:
//
//	policy: policy.d                  # file of policy documents, or directory of them
//	trust:
//	  dir: trust                      # acme.json or acme.jsonl there is the trust root "acme"
//	  maxStale: 30d                   # how long TUF metadata is good after its end; 0 is strict
//	  tuf:                            # trust roots that are followed
//	  - {name: acme, mirror: "https://sigstore.acme.example/tuf", root: root.json}
//	agent:
//	  listen: 127.0.0.1:7467          # the lookaside; loopback only
//	  socket: /run/touchmark/agent.sock
//	  state: /var/lib/touchmark
//	podman:
//	  key: podman/countersign.key     # or the URI of a key in a KMS or on a token
//	  form: openpgp                   # or sigstore
//	  validity: 10m                   # of a countersignature, ten minutes at most
//	  scopes: [registry.example/acme] # of policy.json, that require a countersignature
//	containerd:
//	  config: /etc/containerd/config.toml
//	  hosts: [/etc/containerd/certs.d] # directories of hosts.toml, in the place of config.toml's config_path
//	  credentials: containerd/auth.json # for registries, in the format of Docker's config.json
//	  credentialProviders:            # the kubelet's, as its flags name them
//	    config: /etc/kubernetes/credential-providers.yaml
//	    bin: /usr/libexec/kubelet-credential-providers
//	  verifierTimeout: 10s            # per_verifier_timeout in config.toml, if it is another
//	  standalone: true                # touchmark-containerd may decide without an agent
//	  observe: false                  # true admits everything, and records what would be refused
//	  nri: false                      # true refuses containers of images without an admission, too
//	  nriSocket: /run/nri/nri.sock    # containerd's socket for plugins
//	  socket: /run/containerd/containerd.sock
//	  namespaces: [k8s.io]            # that are swept; all of containerd's if it is left out
//
// Everything may be left out. The file is read strictly: an unknown field, a
// field that stands twice, and an empty value are errors that name file, line
// and field. Relative paths are relative to the file's directory; a [Config]
// has absolute ones only.
//
// This package knows what the values look like and nothing of their meaning:
// the packages that use a key, a scope or a trust root say what they are.
package hostconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
)

// maxFile bounds config.yaml, in bytes; one with a hundred scopes has 5 KiB.
const maxFile = 256 << 10

// DefaultMaxStale is trust.maxStale where the file says nothing: a stack that
// is down over holidays stops nobody.
const DefaultMaxStale = 30 * 24 * time.Hour

// MaxValidity is the longest that a countersignature may be valid, and the
// default: a recorded one must be worthless soon after a policy has changed.
const MaxValidity = 10 * time.Minute

// The forms of countersignatures.
const (
	OpenPGP  = "openpgp"
	Sigstore = "sigstore"
)

// Config is what a file says, with defaults for what it leaves out.
type Config struct {
	File   string // absolute; it need not exist
	Policy string // file or directory
	Trust  Trust
	Agent  Agent
	Podman Podman

	Containerd Containerd
}

// Trust says where trust roots come from.
type Trust struct {
	Dir      string        // of trusted_root.json files; it need not exist
	MaxStale time.Duration // 0 is strict
	TUF      []TUF
}

// TUF is a trust root that is followed by TUF.
type TUF struct {
	Name   string // of the trust root, for policies
	Mirror string // URL, or "public-good"
	Root   string // file with the root.json to start from; empty for public-good, whose root is built in
}

// Agent says where the agent is reached, and what it keeps.
type Agent struct {
	Listen string // HOST:PORT on loopback; empty for none
	Socket string // unix socket
	State  string // directory
}

// Podman is what the enforcement in podman and its kin works with.
type Podman struct {
	Key      string // file, or the URI of a key elsewhere
	Form     string // [OpenPGP] or [Sigstore]
	Validity time.Duration
	Scopes   []string
}

// Containerd is what the enforcement in containerd works with.
type Containerd struct {
	Config      string   // containerd's own config.toml; it need not exist
	Hosts       []string // directories of hosts.toml; empty for those that Config names
	Credentials string   // file; it need not exist
	// CredentialProviders are those of the kubelet.
	CredentialProviders CredentialProviders
	// VerifierTimeout is how long containerd waits for a verifier: an answer comes
	// before that.
	VerifierTimeout time.Duration
	Standalone      bool     // decide without an agent where none answers
	Observe         bool     // admit what containerd asks about, and record what enforcing would refuse
	NRI             bool     // refuse containers of images without an admission
	NRISocket       string   // of containerd, for NRI plugins
	Socket          string   // of containerd's API
	Namespaces      []string // of containerd, that are swept; empty for all
}

// CredentialProviders are programs by which the kubelet finds credentials for
// registries. Both are empty if they are not to be used.
type CredentialProviders struct {
	Config string // --image-credential-provider-config, a file or a directory of them
	Bin    string // --image-credential-provider-bin-dir
}

// DefaultVerifierTimeout is containerd's own per_verifier_timeout.
const DefaultVerifierTimeout = 10 * time.Second

// Load reads a file, d.File if path is empty. A file that does not exist is an
// error; [New] is the configuration without one.
func Load(path string, d Defaults) (*Config, error) {
	if path == "" {
		path = d.File
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	data, err := configfile.Read(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading configuration: %w; \"touchmark install podman\" or \"touchmark install containerd\" writes one", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	c, err := Parse(data, path, d)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	return c, nil
}

// New is the configuration that a file which says nothing stands for.
func New(path string, d Defaults) *Config {
	dir := filepath.Dir(path)
	return &Config{
		File: path, Policy: filepath.Join(dir, "policy.d"),
		Trust:  Trust{Dir: filepath.Join(dir, "trust"), MaxStale: DefaultMaxStale},
		Agent:  Agent{Listen: d.Listen, Socket: d.Socket, State: d.State},
		Podman: Podman{Key: filepath.Join(dir, "podman", "countersign.key"), Form: OpenPGP, Validity: MaxValidity},
		Containerd: Containerd{
			Config: d.Containerd, Credentials: filepath.Join(dir, "containerd", "auth.json"), Standalone: true,
			VerifierTimeout: DefaultVerifierTimeout,
			Socket:          d.ContainerdSocket, NRISocket: d.NRISocket,
		},
	}
}

// Files are the files and directories that decide what is demanded of images;
// a change of any of them is a change of the rules.
func (c *Config) Files() []string {
	files := []string{c.Policy, c.Trust.Dir}
	for _, t := range c.Trust.TUF {
		if t.Root != "" {
			files = append(files, t.Root)
		}
		files = append(files, c.TUFDir(t.Name)) // the metadata says how long the root is good
	}
	return files
}

// TUFDir is where the agent keeps what it saw of a TUF repository.
func (c *Config) TUFDir(name string) string { return filepath.Join(c.Agent.State, "tuf", name) }

// RootFile is a trusted_root.json, or a .jsonl of several, and the name under
// which policies refer to it.
type RootFile struct{ Name, Path string }

// RootFiles lists the trust roots in Trust.Dir, by name. A directory that does
// not exist holds none. A name that stands twice is an error, also if TUF
// provides it.
func (c *Config) RootFiles() ([]RootFile, error) {
	entries, err := os.ReadDir(c.Trust.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading trust roots: %w", err)
	}
	from := make(map[string]string)
	for _, t := range c.Trust.TUF {
		from[t.Name] = "trust.tuf of " + c.File
	}
	var files []RootFile
	for _, e := range entries {
		name, ok := rootName(e.Name())
		if !ok {
			continue
		}
		path := filepath.Join(c.Trust.Dir, e.Name())
		if first := from[name]; first != "" {
			return nil, fmt.Errorf("reading trust roots: %s: the trust root %q is already that of %s", path, name, first)
		}
		from[name] = path
		files = append(files, RootFile{Name: name, Path: path})
	}
	slices.SortFunc(files, func(a, b RootFile) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// rootName is the name of the trust root that a file holds.
func rootName(file string) (string, bool) {
	if strings.HasPrefix(file, ".") { // an editor's, or Kubernetes' ..data
		return "", false
	}
	for _, ext := range []string{".json", ".jsonl"} {
		if name, ok := strings.CutSuffix(file, ext); ok && name != "" {
			return name, true
		}
	}
	return "", false
}

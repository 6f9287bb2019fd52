// Package distribution says who put containerd on a node, and where its settings
// are kept so that they survive: a restart, an upgrade, the distribution's own
// machinery that writes config.toml anew.
//
// It looks at files only, below the host's root, and executes nothing.
package distribution

import "github.com/touchmark/touchmark/containerd"

// Name is a distribution's.
type Name string

// The distributions that are told apart.
const (
	Plain        Name = "plain"        // containerd's own release, or a package of Debian's and others'
	Docker       Name = "docker"       // the package containerd.io
	Kubeadm      Name = "kubeadm"      // either, with a kubelet that kubeadm set up
	EKS          Name = "eks"          // Amazon Linux 2023 with nodeadm
	GKE          Name = "gke"          // Container-Optimized OS
	RKE2         Name = "rke2"         // containerd inside of RKE2
	K3s          Name = "k3s"          // containerd inside of k3s
	Talos        Name = "talos"        // no shell, no files: a machine configuration
	Bottlerocket Name = "bottlerocket" // its API writes every file
	None         Name = "none"         // no containerd is found
)

// Kind is how a setting of containerd is changed so that it stays.
type Kind string

// The ways of changing settings.
const (
	DropIn   Kind = "drop-in"  // a file in a directory that is imported
	Template Kind = "template" // the distribution makes config.toml from a template
	API      Kind = "api"      // the distribution's own configuration, not a file of the node
	Nothing  Kind = "none"     // it cannot be changed
)

// Override is where settings are changed.
type Override struct {
	Kind Kind
	// Path of the file to write, on the node; "" for an API or nothing.
	Path string
	// Import is the pattern that the main file must import first; "" if it does, or
	// need not.
	Import string
	// How is one sentence on what to do where no file of the node helps.
	How string
}

// Distribution is who put containerd on a node.
type Distribution struct {
	Name Name
	// Config is the config.toml that the daemon reads, on the node.
	Config string
	// Address is the socket of containerd's API, where it is not in Config.
	Address string
	// Service is the systemd unit to restart; "" where there is none.
	Service string
	// Program is the containerd on the node, "" if it was not found.
	Program  string
	Override Override
	// Because is what told it, for a reader.
	Because string
}

// Verdict is what image verifiers can do on a node.
type Verdict string

// The verdicts.
const (
	Enforcing Verdict = "enforcing" // once the verifier is installed, nothing else is to be done
	Fixable   Verdict = "fixable"   // settings must be changed, which can be done
	Proxy     Verdict = "proxy"     // the hook cannot work: use Touchmark's registry proxy
)

// Detect says who put containerd on a host.
func Detect(h containerd.Host) Distribution {
	return Distribution{Name: Plain, Config: "/etc/containerd/config.toml", Service: "containerd.service", Override: Override{Kind: DropIn, Path: "/etc/containerd/conf.d/touchmark.toml"}}
}

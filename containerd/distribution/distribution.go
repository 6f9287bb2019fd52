// Package distribution says who put containerd on a node, and where its settings
// are kept so that they survive a restart, an upgrade, and the distribution's own
// machinery that writes config.toml anew.
//
// It looks at files only, below the host's root, and executes nothing. The facts
// on each distribution stand, with where they are from, in the files below
// testdata.
package distribution

// Name is a distribution's.
type Name string

// The distributions that are told apart.
const (
	Plain        Name = "plain"        // containerd's own release, or a package of Debian's and others'
	Docker       Name = "docker"       // Docker's, whose daemon pulls by itself
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
	Nothing  Kind = "none"     // it cannot be changed so that verifiers are asked
)

// Override is where settings are changed. Paths are the node's.
type Override struct {
	Kind Kind
	// Path is the file to write: the drop-in, or the template; "" for an API or nothing.
	Path string
	// Import is the pattern that imports a drop-in: config.toml, or what it is made
	// from, has to have it. "" where there are no drop-ins.
	Import string
	// How says in a sentence what to do where no file of the node helps.
	How string
	// Snippet is what to put into the distribution's own configuration, for an API.
	Snippet string
}

// Distribution is who put containerd on a node. Paths are the node's.
type Distribution struct {
	Name Name
	// Config is the config.toml that the daemon reads; it need not exist.
	Config string
	// Address is the socket of containerd's API.
	Address string
	// Service is the systemd unit to restart; "" where there is none.
	Service string
	// Program is the containerd on the node; "" if it was not found.
	Program string
	// CertsD is the directory of hosts.toml where the distribution makes them
	// itself, from a file of its own, so that what one writes there is lost; else "".
	CertsD   string
	Override Override
	// Because is the file that told it.
	Because string
}

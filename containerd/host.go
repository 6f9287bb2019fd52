// Package containerd says where containerd and Touchmark's files for it lie on
// a node.
//
// The packages below it read and write them: config (containerd's own
// configuration), distribution (who put containerd there), access (its
// registries and credentials), bindir (the verifier's protocol), and what
// installs and examines. The places are those of containerd 2.4
// (defaults/defaults_unix.go); a distribution may have others, see package
// distribution.
package containerd

import (
	"path/filepath"
	"strings"
)

// Host says where one node's files lie. The zero value is this node.
type Host struct {
	// Root is put before every path, for a mounted root or a test; "" is /.
	Root string
}

// Path puts the root before a path of the node. A path that begins with the
// root already is returned as it is.
func (h Host) Path(p string) string {
	if h.Root == "" {
		return p
	}
	return filepath.Join(h.Root, h.Within(p))
}

// Within is a path without the root: what to write into a node's files, whose
// readers see that root as theirs.
func (h Host) Within(p string) string {
	if h.Root == "" {
		return p
	}
	root := filepath.Clean(h.Root)
	if rest, ok := strings.CutPrefix(p, root); ok && (rest == "" || rest[0] == '/' || root == "/") {
		return filepath.Join("/", rest)
	}
	return p
}

// Config is the config.toml that containerd reads when no flag says otherwise.
func (h Host) Config() string { return h.Path("/etc/containerd/config.toml") }

// DropIns is the directory of drop-ins that the imports of a generated
// configuration name since containerd 2.2. It is read only if config.toml
// itself imports it.
func (h Host) DropIns() string { return h.Path("/etc/containerd/conf.d") }

// BinDir is containerd's default directory of image verifiers.
func (h Host) BinDir() string { return h.Path("/opt/containerd/image-verifier/bin") }

// CertsD is the directory of hosts.toml that containerd's own documentation
// uses, and the first that CRI looks into by default.
func (h Host) CertsD() string { return h.Path("/etc/containerd/certs.d") }

// Address is the socket of containerd's API.
func (h Host) Address() string { return h.Path("/run/containerd/containerd.sock") }

// Touchmark is the directory of Touchmark's own configuration.
func (h Host) Touchmark() string { return h.Path("/etc/touchmark") }

// SystemdUnits is the directory where an administrator's own systemd units lie.
func (h Host) SystemdUnits() string { return h.Path("/etc/systemd/system") }

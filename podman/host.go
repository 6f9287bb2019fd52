// Package podman says where containers/image, the library in podman, skopeo,
// buildah and CRI-O, finds its configuration on a host.
//
// The packages below it read and write these files: policyjson and
// registriesd, access, install, doctor.
//
// The places are those of go.podman.io/image/v5 v5.41.2 and of
// containers-policy.json(5), containers-registries.d(5),
// containers-registries.conf(5), containers-certs.d(5) and
// containers-auth.json(5). What changed over the years is written beside each
// method: releases before 2025 read one directory of registries.d where later
// ones merge several, and only later ones look below /usr/share.
package podman

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Host says where one host's, or one user's, container configuration lies.
// The zero value is this host's system configuration, as root has it.
type Host struct {
	// Root is put before every path, for a mounted root or a test; "" is /.
	Root string
	// Home is the user's $HOME; "" is the system.
	Home string
	// ConfigHome, RuntimeDir, DataHome and StateHome are that user's
	// $XDG_CONFIG_HOME, $XDG_RUNTIME_DIR, $XDG_DATA_HOME and $XDG_STATE_HOME;
	// where empty, their defaults: ~/.config, /run/user/<UID>, ~/.local/share,
	// ~/.local/state. Nothing of them counts for the system.
	ConfigHome, RuntimeDir, DataHome, StateHome string
	// UID is that user's; 0 for the system.
	UID int
}

// User reports whether the configuration is one user's.
func (h Host) User() bool { return h.Home != "" }

// PolicyJSON is the policy.json to write: the user's, or /etc's.
func (h Host) PolicyJSON() string { return h.PolicyJSONs()[0] }

// PolicyJSONs are the places of policy.json, the first that exists is the only
// one that counts: a user's replaces the system's wholly. /usr/share is read
// by releases of 2026 and later only.
func (h Host) PolicyJSONs() []string { return h.containers("policy.json") }

// RegistriesD are the directories of registries.d, whoever overrides first:
// the user's, /etc's, /usr/share's. Releases of 2026 and later merge them by
// file name; those before read the user's alone if it exists, or else /etc's
// alone.
func (h Host) RegistriesD() []string { return h.dropIns("registries", "") }

// RegistriesConf is the registries.conf to write: the user's, or /etc's.
func (h Host) RegistriesConf() string { return h.RegistriesConfs()[0] }

// RegistriesConfs are the places of registries.conf: the first that exists is
// read, then the drop-ins of [Host.RegistriesConfD].
func (h Host) RegistriesConfs() []string { return h.containers("registries.conf") }

// RegistriesConfD are the directories of registries.conf's drop-ins, whoever
// overrides first.
func (h Host) RegistriesConfD() []string { return h.dropIns("registries", ".conf") }

// RegistriesDir is the directory to write a file for registries.d into: of those
// in [Host.RegistriesD] the one that every release reads.
func (h Host) RegistriesDir() string { return h.containers("registries.d")[0] }

// RegistriesConfDir is the directory to write a drop-in for registries.conf
// into: of those in [Host.RegistriesConfD] the one that every release reads.
func (h Host) RegistriesConfDir() string { return h.containers("registries.conf.d")[0] }

// ContainersConf are the files of containers.conf, whoever overrides first:
// unlike registries.conf, all that exist are read. Their drop-ins lie in the
// directories of the same names with .d.
func (h Host) ContainersConf() []string { return h.containers("containers.conf") }

// CertsD are the directories with registries' certificates, one directory for
// each host[:port], in the order in which they are looked through.
func (h Host) CertsD() []string {
	return append(h.containersOf("certs.d", false), h.path("/etc/docker/certs.d"))
}

// AuthFiles are the files with registries' credentials, in the order in which
// they are looked through: the one that "podman login" writes, which does not
// outlive a boot, containers' own, Docker's.
func (h Host) AuthFiles() []string {
	home, config := h.Home, h.config()
	runtime := filepath.Join(h.runtime(), "containers")
	if !h.User() {
		home, config = "/root", "/root/.config"
		runtime = filepath.Join("/run/containers", strconv.Itoa(h.UID))
	}
	return []string{
		h.path(filepath.Join(runtime, "auth.json")),
		h.path(filepath.Join(config, "containers/auth.json")),
		h.path(filepath.Join(home, ".docker/config.json")),
	}
}

// DefaultLookaside is the directory where signatures are looked for, and
// written to, when no registries.d says otherwise.
func (h Host) DefaultLookaside() string {
	if h.User() {
		return h.path(filepath.Join(h.Home, ".local/share/containers/sigstore"))
	}
	return h.path("/var/lib/containers/sigstore")
}

// Within is a path without the root: what to write into a host's files, whose
// readers see that root as theirs.
func (h Host) Within(path string) string {
	if h.Root == "" {
		return path
	}
	root := filepath.Clean(h.Root)
	if rest, ok := strings.CutPrefix(path, root); ok && (rest == "" || rest[0] == '/' || root == "/") {
		return filepath.Join("/", rest)
	}
	return path
}

// Touchmark is the directory of Touchmark's own configuration.
func (h Host) Touchmark() string {
	if h.User() {
		return h.path(filepath.Join(h.config(), "touchmark"))
	}
	return h.path("/etc/touchmark")
}

// State is the directory of what the agent and the installer remember, as
// core/hostconfig has it.
func (h Host) State() string {
	if h.User() {
		return h.path(filepath.Join(h.state(), "touchmark"))
	}
	return h.path("/var/lib/touchmark")
}

// Socket is the agent's unix socket.
func (h Host) Socket() string {
	if h.User() {
		return h.path(filepath.Join(h.runtime(), "touchmark/agent.sock"))
	}
	return h.path("/run/touchmark/agent.sock")
}

// SystemdUnits is the directory where an administrator's, or the user's own,
// systemd units lie.
func (h Host) SystemdUnits() string {
	if h.User() {
		return h.path(filepath.Join(h.config(), "systemd/user"))
	}
	return h.path("/etc/systemd/system")
}

// containers are a file's places in the three folders of containers'
// configuration.
func (h Host) containers(name string) []string { return h.containersOf(name, true) }

func (h Host) containersOf(name string, share bool) []string {
	var out []string
	if h.User() {
		out = append(out, h.path(filepath.Join(h.config(), "containers", name)))
	}
	out = append(out, h.path(filepath.Join("/etc/containers", name)))
	if share {
		out = append(out, h.path(filepath.Join("/usr/share/containers", name)))
	}
	return out
}

// dropIns are the directories of drop-ins: below /etc and /usr/share those
// for root or for all other users come before those for everybody (releases of
// 2026 and later).
func (h Host) dropIns(name, ext string) []string {
	var out []string
	if h.User() {
		out = append(out, h.path(filepath.Join(h.config(), "containers", name+ext+".d")))
	}
	for _, dir := range []string{"/etc/containers", "/usr/share/containers"} {
		base := filepath.Join(dir, name)
		if h.User() {
			rootless := base + ".rootless" + ext + ".d"
			out = append(out, h.path(filepath.Join(rootless, strconv.Itoa(h.UID))), h.path(rootless))
		} else {
			out = append(out, h.path(base+".rootful"+ext+".d"))
		}
		out = append(out, h.path(base+ext+".d"))
	}
	return out
}

func (h Host) config() string {
	if h.ConfigHome != "" {
		return h.ConfigHome
	}
	return filepath.Join(h.Home, ".config")
}

func (h Host) state() string {
	if h.StateHome != "" {
		return h.StateHome
	}
	return filepath.Join(h.Home, ".local/state")
}

func (h Host) runtime() string {
	if h.RuntimeDir != "" {
		return h.RuntimeDir
	}
	return filepath.Join("/run/user", strconv.Itoa(h.UID))
}

// path puts the root before a path.
func (h Host) path(p string) string {
	if h.Root == "" {
		return p
	}
	return filepath.Join(h.Root, p)
}

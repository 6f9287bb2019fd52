package hostconfig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Port is where the system's agent listens on loopback. A user's port is chosen
// at install and stands in the user's file: one host has many users.
const Port = "7467"

// Defaults are the file of a host or a user, and what holds where it says
// nothing.
type Defaults struct {
	File   string // config.yaml
	Listen string // empty for a user: see [Port]
	Socket string
	State  string
	// Containerd is containerd's own configuration, ContainerdSocket that of its API,
	// and NRISocket the one for NRI plugins.
	Containerd, ContainerdSocket, NRISocket string
}

// System are the defaults of a host, below root, which is "/" but for a mounted
// system or a test.
func System(root string) Defaults {
	return Defaults{
		File:   filepath.Join(root, "/etc/touchmark/config.yaml"),
		Listen: "127.0.0.1:" + Port,
		Socket: filepath.Join(root, "/run/touchmark/agent.sock"),
		State:  filepath.Join(root, "/var/lib/touchmark"),

		Containerd:       filepath.Join(root, "/etc/containerd/config.toml"),
		ContainerdSocket: filepath.Join(root, "/run/containerd/containerd.sock"),
		NRISocket:        filepath.Join(root, "/run/nri/nri.sock"),
	}
}

// User are the defaults of one user, by the XDG base directories. getenv is
// os.Getenv. It is an error if there is no home directory; without
// $XDG_RUNTIME_DIR it is /run/user/<uid>, as systemd has it.
func User(getenv func(string) string, uid int) (Defaults, error) {
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return Defaults{}, errors.New("finding the user's configuration: HOME is not an absolute path")
	}
	// The specification: a path that is not absolute is ignored.
	dir := func(variable, fallback string) string {
		if v := getenv(variable); filepath.IsAbs(v) {
			return v
		}
		return fallback
	}
	config, run := dir("XDG_CONFIG_HOME", filepath.Join(home, ".config")), dir("XDG_RUNTIME_DIR", fmt.Sprintf("/run/user/%d", uid))
	return Defaults{
		File:   filepath.Join(config, "touchmark", "config.yaml"),
		Socket: filepath.Join(run, "touchmark", "agent.sock"),
		State:  filepath.Join(dir("XDG_STATE_HOME", filepath.Join(home, ".local", "state")), "touchmark"),

		Containerd:       filepath.Join(config, "containerd", "config.toml"),
		ContainerdSocket: filepath.Join(run, "containerd", "containerd.sock"),
		NRISocket:        filepath.Join(run, "nri", "nri.sock"),
	}, nil
}

// Default are the defaults of this process's user, or of this host.
func Default(user bool) (Defaults, error) {
	if user {
		return User(os.Getenv, os.Getuid())
	}
	return System("/"), nil
}

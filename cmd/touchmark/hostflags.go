package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/podman"
)

// hostFlags say which host's or user's agent is meant.
type hostFlags struct {
	config string
	user   bool
}

func (f *hostFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "`file` of the configuration (default: /etc/touchmark/config.yaml, or the user's with --user)")
	cmd.Flags().BoolVar(&f.user, "user", false, "the agent of this user, not of the host")
}

// load reads the configuration.
func (f hostFlags) load() (*hostconfig.Config, error) {
	d, err := hostconfig.Default(f.user)
	if err != nil {
		return nil, usageError(err)
	}
	c, err := hostconfig.Load(f.config, d)
	if err != nil {
		return nil, usageError(err)
	}
	return c, nil
}

// host is where the clients' configuration lies.
func (f hostFlags) host() podman.Host {
	if !f.user {
		return podman.Host{}
	}
	return podman.Host{
		Home: os.Getenv("HOME"), ConfigHome: os.Getenv("XDG_CONFIG_HOME"), RuntimeDir: os.Getenv("XDG_RUNTIME_DIR"),
		DataHome: os.Getenv("XDG_DATA_HOME"), StateHome: os.Getenv("XDG_STATE_HOME"), UID: os.Getuid(),
	}
}

// find takes a user's own agent for the one that is meant, if the user has one
// and nothing else is said.
func (f hostFlags) find() hostFlags {
	if f.user || f.config != "" || os.Getuid() == 0 {
		return f
	}
	own := hostFlags{user: true}
	if _, err := own.load(); err == nil {
		return own
	}
	return f
}

package rules

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/podman"
)

// HostFlags say which host's or user's agent is meant.
type HostFlags struct {
	Config string // file of the configuration; "" for the host's or the user's own
	User   bool   // of this user, and not of the host
}

// Register adds the flags to a command.
func (f *HostFlags) Register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.Config, "config", "", "`file` of the configuration (default: /etc/touchmark/config.yaml, or the user's with --user)")
	cmd.Flags().BoolVar(&f.User, "user", false, "the agent of this user, not of the host")
}

// Load reads the configuration.
func (f HostFlags) Load() (*hostconfig.Config, error) {
	d, err := hostconfig.Default(f.User)
	if err != nil {
		return nil, exit.Usage(err)
	}
	c, err := hostconfig.Load(f.Config, d)
	if err != nil {
		return nil, exit.Usage(err)
	}
	return c, nil
}

// Podman is where the clients' configuration lies.
func (f HostFlags) Podman() podman.Host {
	if !f.User {
		return podman.Host{}
	}
	return podman.Host{
		Home: os.Getenv("HOME"), ConfigHome: os.Getenv("XDG_CONFIG_HOME"), RuntimeDir: os.Getenv("XDG_RUNTIME_DIR"),
		DataHome: os.Getenv("XDG_DATA_HOME"), StateHome: os.Getenv("XDG_STATE_HOME"), UID: os.Getuid(),
	}
}

// Find takes a user's own agent for the one that is meant, if the user has one
// and nothing else is said.
func (f HostFlags) Find() HostFlags {
	if f.User || f.Config != "" || os.Getuid() == 0 {
		return f
	}
	own := HostFlags{User: true}
	if _, err := own.Load(); err == nil {
		return own
	}
	return f
}

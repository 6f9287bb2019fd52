package proxycmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/systemd"
)

// printUnit prints a systemd unit for the configuration, which must be good.
func (f proxyFlags) printUnit(cmd *cobra.Command, read func() (*config.Config, error)) error {
	c, err := read()
	if err != nil {
		return exit.Usage(err)
	}
	program, err := os.Executable()
	if err != nil {
		return exit.Undecided(err)
	}
	o := systemd.Options{Program: program, Config: c.File, Writes: writes(c)}
	if err := makesKey(c, o); err != nil {
		return exit.Usage(err)
	}
	unit, err := systemd.Unit(o)
	if err != nil {
		return exit.Usage(err)
	}
	_, err = cmd.OutOrStdout().Write(unit)
	return err
}

// writes are the directories that the proxy writes to, besides those that the unit has anyway.
func writes(c *config.Config) []string {
	var dirs []string
	if c.Cache.Dir != "" {
		dirs = append(dirs, c.Cache.Dir)
	}
	if c.Decisions != "" {
		dirs = append(dirs, filepath.Dir(c.Decisions))
	}
	if c.State != config.DefaultState { // which the unit makes
		dirs = append(dirs, c.State)
	}
	return dirs
}

// makesKey refuses a unit under which the proxy could not make the key that it is to countersign with. It is not given the
// directory: beside the key lie the configuration and the policy, as a rule, which it must not be able to change.
func makesKey(c *config.Config, o systemd.Options) error {
	if c.Countersign.Key == "" {
		return nil
	}
	for _, file := range []struct{ field, path string }{{"key", c.Countersign.Key}, {"authority", c.Countersign.Authority}} {
		if keys.IsRemote(file.path) || o.MayWrite(file.path) {
			continue
		}
		if _, err := os.Lstat(file.path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: countersign.%s: %s is not there, and the proxy could not make it where the unit lets it only read: name key and authority in %s, or make both with \"touchmark proxy key make --config %s\"",
				c.File, file.field, file.path, config.DefaultState, c.File)
		}
	}
	return nil
}

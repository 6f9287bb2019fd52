package install

import (
	"path/filepath"
	"slices"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/core/hostfiles"
)

// Removal plans to put everything back as it was before [New] and Apply. Of the plan,
// Changes and Restart are set. It is an error that wraps fs.ErrNotExist if nothing is
// installed.
func Removal(h containerd.Host, edited hostfiles.Edited) (*Plan, error) {
	changes, err := place(h).Removal(edited)
	if err != nil {
		return nil, err
	}
	for _, path := range edited.Leave {
		if requires(h, path) {
			changes.Notes = append(changes.Notes, path+" still has containerd require Touchmark's NRI plugin: once the agent is stopped, no container can be made until required_plugins is taken out of it and containerd restarted")
		}
	}
	return &Plan{Changes: changes, Restart: slices.ContainsFunc(changes.Paths(), isConfiguration)}, nil
}

// requires reports whether a file of containerd's has the NRI plugin as required.
func requires(h containerd.Host, path string) bool {
	if !isConfiguration(path) {
		return false
	}
	c, err := config.Load(h, path, config.Newest())
	return err == nil && slices.Contains(c.NRI.Validator.RequiredPlugins, nriPlugin)
}

// isConfiguration reports whether a file that was installed is of containerd's
// configuration, or makes it.
func isConfiguration(path string) bool {
	ext := filepath.Ext(path)
	return (ext == ".toml" || ext == ".tmpl") && filepath.Base(path) != hostsFile
}

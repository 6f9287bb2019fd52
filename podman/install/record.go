package install

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/podman"
)

// Changes are what has to be done to a host.
type Changes = hostfiles.Changes

// EditedError says that a file is no longer as it was written.
type EditedError = hostfiles.EditedError

// place is where a host's record lies: beside the configuration, and not in the
// agent's state, which need not belong to root.
func place(h podman.Host) hostfiles.Place {
	return hostfiles.Place{
		Root:   h.Root,
		Record: filepath.Join(h.Touchmark(), "install", "podman.json"), Client: "podman",
		Denied: "run this as root, or with --user for yourself alone",
		User:   h.User(), UID: h.UID, GID: gid(h),
	}
}

// gid is the group of a user's new files: that of the home directory.
func gid(h podman.Host) int {
	if !h.User() {
		return 0
	}
	info, err := os.Stat(h.Home)
	if err != nil {
		return 0
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return int(sys.Gid)
}

// Installed are the settings of what is installed; ok is false if nothing is.
func Installed(h podman.Host) (s Settings, ok bool, err error) {
	r, err := place(h).Installed()
	if err != nil || r == nil {
		return Settings{}, false, err
	}
	return s, true, r.Decode(&s)
}

// PlanRemoval plans to put everything back as it was before [Plan] and Apply.
// It is an error that wraps [fs.ErrNotExist] if nothing is installed.
func PlanRemoval(h podman.Host, edited hostfiles.Edited) (*Changes, error) {
	c, err := place(h).Removal(edited)
	if err != nil {
		return nil, err
	}
	if path := h.PolicyJSON(); slices.Contains(edited.Leave, path) {
		c.Notes = append(c.Notes, path+" still demands countersignatures, which nobody makes any more: its scopes are refused until you edit it")
	}
	return c, nil
}

package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/podman"
)

const (
	// maxFile bounds each file that is read or remembered: policy.json may have
	// eight megabytes, and no other of them has more.
	maxFile = 16 << 20
	// maxRecord bounds the record: some such files.
	maxRecord = 128 << 20
)

// record is what uninstall needs to know. It is on disk before the first file
// is changed.
type record struct {
	Version  int      `json:"version"` // 1
	Settings Settings `json:"settings"`
	Files    []saved  `json:"files"`
	// Made are files that hold keys: they are taken away without being compared
	// with anything, since keys are rotated.
	Made []string `json:"made,omitempty"`
	// Directories were made, and are taken away if they are empty, the last first.
	Directories []string `json:"directories,omitempty"`
}

// saved is one file as it was, and what was written there.
type saved struct {
	Path    string `json:"path"`
	Existed bool   `json:"existed"`
	state
	// Written are the SHA-256 of what stands there now: two, while one is being
	// replaced by the other.
	Written []string `json:"written"`
	// Input says that somebody handed the file in: installing again without it
	// leaves it there.
	Input bool `json:"input,omitempty"`
}

// state is a file's content and what belongs to it.
type state struct {
	Data []byte      `json:"data"` // base64
	Mode fs.FileMode `json:"mode"` // permissions
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
}

// equal reports whether nothing distinguishes two states.
func (s state) equal(other state) bool {
	return bytes.Equal(s.Data, other.Data) && s.Mode == other.Mode && s.UID == other.UID && s.GID == other.GID
}

// close takes a file from everybody but root and the user whose configuration it
// is: who can write policy.json decides what is pulled, whatever is in it.
func (s *state) close(h podman.Host) {
	s.Mode &^= 0o022
	if s.UID != 0 && s.UID != h.UID && os.Geteuid() == 0 { // only root can take files away
		s.UID, s.GID = h.UID, gid(h)
	}
}

// recordFile is where a host's record lies: beside the configuration, and not in
// the agent's state, which need not belong to root.
func recordFile(h podman.Host) string {
	return filepath.Join(h.Touchmark(), "install", "podman.json")
}

// readRecord reads the record; nil if nothing is installed.
func readRecord(h podman.Host) (*record, error) {
	path := recordFile(h)
	data, err := configfile.Read(path, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("reading what was installed: %w; run this as root, or with --user for yourself alone", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was installed: %w", err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading what was installed: %s: %w", path, err)
	}
	if r.Version != 1 {
		return nil, fmt.Errorf("reading what was installed: %s: version %d is of another release", path, r.Version)
	}
	return &r, nil
}

// file is what the record says of a path; nil if nothing.
func (r *record) file(path string) *saved {
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Files, func(s saved) bool { return s.Path == path })
	if i < 0 {
		return nil
	}
	return &r.Files[i]
}

// EditedError says that a file is no longer as it was written.
type EditedError struct{ Path string }

func (e *EditedError) Error() string {
	return e.Path + `: somebody edited it since Touchmark wrote it; undo the edit, or leave the file as it is now with "touchmark uninstall podman --leave ` +
		e.Path + `", which takes everything else away, and install again`
}

// readState reads a file. A symbolic link is refused: what is written would
// take its place, and its target go on as it is.
func readState(path string) (s state, exists bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, false, nil
	}
	if err != nil {
		return state{}, false, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return state{}, false, fmt.Errorf("%s: is a symbolic link; put the file itself there", path)
	}
	if s.Data, err = configfile.Read(path, maxFile); err != nil {
		return state{}, false, err
	}
	s.Mode = info.Mode().Perm()
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.UID, s.GID = int(sys.Uid), int(sys.Gid)
	}
	return s, true, nil
}

// before is a file as it was before Touchmark. now is what stands there, if
// something does.
func (r *record) before(path string) (was state, existed bool, now *state, err error) {
	s, exists, err := readState(path)
	if err != nil {
		return state{}, false, nil, err
	}
	if exists {
		now = &s
	}
	old := r.file(path)
	if old == nil {
		return s, exists, now, nil
	}
	if !old.unedited(now) {
		return state{}, false, nil, &EditedError{path}
	}
	return old.state, old.Existed, now, nil
}

// unedited reports whether a file is as it was written, or still, or again, as
// it was before; an installation may have been cut off.
func (s *saved) unedited(now *state) bool {
	if now == nil {
		return !s.Existed
	}
	return slices.Contains(s.Written, digest(now.Data)) || s.Existed && string(s.Data) == string(now.Data)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

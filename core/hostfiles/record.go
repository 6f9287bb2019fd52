package hostfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxFile bounds each file that is read or remembered: policy.json may have
	// eight megabytes, and no other of them has more.
	maxFile = 16 << 20
	// maxRecord bounds the record: some such files.
	maxRecord = 128 << 20
)

// Record is what uninstall needs to know. It is on disk before the first file
// is changed.
type Record struct {
	Version  int             `json:"version"`  // 1
	Settings json.RawMessage `json:"settings"` // the installer's own, see [Record.Decode]
	Files    []Saved         `json:"files"`
	// Made are files that hold keys: they are taken away without being compared
	// with anything, since keys are rotated.
	Made []string `json:"made,omitempty"`
	// Directories were made, and are taken away if they are empty, the last first.
	Directories []string `json:"directories,omitempty"`

	client string // as [Place] has it
}

// Saved is one file as it was, and what was written there.
type Saved struct {
	Path    string `json:"path"`
	Existed bool   `json:"existed"`
	State
	// Written are the SHA-256 of what stands there now: two, while one is being
	// replaced by the other.
	Written []string `json:"written"`
	// Input says that somebody handed the file in: installing again without it
	// leaves it there.
	Input bool `json:"input,omitempty"`
	// Fields are what was written, where the file is shared.
	Fields []SavedField `json:"fields,omitempty"`
}

// State is a file's content and what belongs to it.
type State struct {
	Data []byte      `json:"data"` // base64
	Mode fs.FileMode `json:"mode"` // permissions
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
	Link string      `json:"link,omitempty"` // the target of a symbolic link, which has nothing else
}

// equal reports whether nothing distinguishes two states.
func (s State) equal(other State) bool {
	if s.Link != "" || other.Link != "" {
		return s.Link == other.Link
	}
	return bytes.Equal(s.Data, other.Data) && s.Mode == other.Mode && s.UID == other.UID && s.GID == other.GID
}

// close takes a file from everybody but root and the user whose configuration it
// is: who can write it decides what is pulled, whatever is in it.
func (s *State) close(p Place) {
	s.Mode &^= 0o022
	if s.UID != 0 && s.UID != p.UID && os.Geteuid() == 0 { // only root can take files away
		s.UID, s.GID = p.UID, p.GID
	}
}

// Installed reads the record; nil if nothing is installed.
func (p Place) Installed() (*Record, error) {
	if err := Within(p.Root, p.Record); err != nil {
		return nil, fmt.Errorf("reading what was installed: %w", err)
	}
	data, err := configfile.Read(p.Record, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("reading what was installed: %w; %s", err, p.Denied)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was installed: %w", err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading what was installed: %s: %w", p.Record, err)
	}
	if r.Version != 1 {
		return nil, fmt.Errorf("reading what was installed: %s: version %d is of another release", p.Record, r.Version)
	}
	r.client = p.Client
	return &r, nil
}

// Decode reads the settings of what is installed into an installer's own type.
func (r *Record) Decode(settings any) error {
	if err := json.Unmarshal(r.Settings, settings); err != nil {
		return fmt.Errorf("reading what was installed: settings: %w", err)
	}
	return nil
}

// file is what the record says of a path; nil if nothing.
func (r *Record) file(path string) *Saved {
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Files, func(s Saved) bool { return s.Path == path })
	if i < 0 {
		return nil
	}
	return &r.Files[i]
}

// EditedError says that a file is no longer as it was written.
type EditedError struct {
	Path   string
	Client string // as [Place] has it
}

func (e *EditedError) Error() string {
	return fmt.Sprintf(`%s: somebody edited it since Touchmark wrote it; undo the edit, or say what is to become of it: "touchmark uninstall %s --leave %[1]s" leaves the file as it is now, `+
		`and --restore %[1]s puts it back as it was before Touchmark; everything else is taken away, and can be installed again`, e.Path, e.Client)
}

// ReadState reads a file. A symbolic link is refused: what is written would
// take its place, and its target go on as it is.
func ReadState(path string) (s State, exists bool, err error) {
	s, exists, err = readAny(path)
	if err == nil && s.Link != "" {
		return State{}, false, fmt.Errorf("%s: is a symbolic link; put the file itself there", path)
	}
	return s, exists, err
}

// readAny reads a file, or where a symbolic link leads.
func readAny(path string) (s State, exists bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, false, nil
	}
	if err != nil {
		return State{}, false, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		s.Link, err = os.Readlink(path)
		return s, true, err
	}
	if s.Data, err = configfile.Read(path, maxFile); err != nil {
		return State{}, false, err
	}
	s.Mode = info.Mode().Perm()
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.UID, s.GID = int(sys.Uid), int(sys.Gid)
	}
	return s, true, nil
}

// Before is a file as it was before Touchmark. now is what stands there, if
// something does. An r that is nil knows of nothing.
func (r *Record) Before(path string) (was State, existed bool, now *State, err error) {
	return r.before(path, ReadState)
}

func (r *Record) before(path string, read func(string) (State, bool, error)) (was State, existed bool, now *State, err error) {
	s, exists, err := read(path)
	if err != nil {
		return State{}, false, nil, err
	}
	now = present(s, exists)
	old := r.file(path)
	if old == nil {
		return s, exists, now, nil
	}
	if !old.unedited(now) {
		return State{}, false, nil, &EditedError{path, r.client}
	}
	return old.State, old.Existed, now, nil
}

// unedited reports whether a file is as it was written, or still, or again, as
// it was before; an installation may have been cut off.
func (s *Saved) unedited(now *State) bool {
	if now == nil {
		return !s.Existed
	}
	return slices.Contains(s.Written, now.digest()) || s.Existed && s.Link == now.Link && string(s.Data) == string(now.Data)
}

// digest is the SHA-256 of a file's content, or of where a link leads.
func (s *State) digest() string {
	data := s.Data
	if s.Link != "" {
		data = []byte("symbolic link to " + s.Link)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

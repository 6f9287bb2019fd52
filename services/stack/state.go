package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/touchmark/touchmark/core/dirlock"
	"github.com/touchmark/touchmark/services/internal/durable"
)

// Schema is the version of the data directory's layout that this program reads and writes.
const Schema = 1

const (
	stateFile = "state.json"

	// firstStartFile is stateFile while the first start is not finished. Renaming it is the last step of a first start, so a
	// directory is finished or says that it is not.
	firstStartFile = "first-start.json"

	// maxState bounds the state file, which has about 150 bytes.
	maxState = 64 << 10
)

// state is what the data directory says of itself.
type state struct {
	Schema    int       `json:"schema"`
	PublicURL string    `json:"publicURL"`
	Created   time.Time `json:"created"` // also the start of every validity in the trusted root
}

// RecordedURL returns the public URL that was fixed when a data directory was first used, or "" if there is none yet. It needs no
// lock and changes nothing.
func RecordedURL(dir string) (string, error) {
	for _, name := range []string{stateFile, firstStartFile} {
		s, err := readState(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		return s.PublicURL, nil
	}
	return "", nil
}

// readState reads a state file. The schema is looked at first: whoever meets a newer one is told so, and not that a field is unknown.
func readState(path string) (state, error) {
	var s state
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return s, fmt.Errorf("reading state: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return s, fmt.Errorf("reading state: %w", err)
	}
	if !info.Mode().IsRegular() {
		return s, fmt.Errorf("reading state: %s is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxState))
	if err != nil {
		return s, fmt.Errorf("reading state: %w", err)
	}
	var version struct{ Schema int }
	if err := json.Unmarshal(content, &version); err != nil {
		return s, fmt.Errorf("reading state: %s: %w", path, err)
	}
	if version.Schema > Schema {
		return s, fmt.Errorf("reading state: %s has schema %d, this program knows schema %d: use the newer program that wrote it", path, version.Schema, Schema)
	}
	if version.Schema < 1 {
		return s, fmt.Errorf("reading state: %s: schema is missing", path)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, fmt.Errorf("reading state: %s: %w", path, err)
	}
	if s.PublicURL == "" || s.Created.IsZero() {
		return s, fmt.Errorf("reading state: %s: publicURL or created is missing", path)
	}
	return s, nil
}

// directory is the data directory of one stack, held by this process alone.
type directory struct {
	path  string
	state state
	first bool // the first start is not finished
	lock  *dirlock.Lock
}

// openDirectory takes the data directory, making it if need be, and reads what it says of itself. With a directory that nobody has
// used yet it begins a first start; one that was interrupted goes on.
func openDirectory(path, publicURL string, now time.Time) (_ *directory, err error) {
	if err := prepare(path); err != nil {
		return nil, err
	}
	d := &directory{path: path}
	if d.lock, err = dirlock.Take(path); err != nil {
		return nil, fmt.Errorf("locking data directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = d.close()
		}
	}()
	d.state, err = readState(d.file(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		d.first = true
		d.state, err = readState(d.file(firstStartFile))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.begin(state{Schema: Schema, PublicURL: publicURL, Created: now.UTC().Truncate(time.Second)}); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case d.state.PublicURL != publicURL:
		return nil, fmt.Errorf("public URL is %s, but %s was set up for %s, which its certificates' issuer and its log's origin name: "+
			"use that URL, or another data directory", publicURL, path, d.state.PublicURL)
	}
	return d, nil
}

func (d *directory) file(names ...string) string {
	return filepath.Join(append([]string{d.path}, names...)...)
}

// begin marks the directory as one whose first start is under way. It must hold nothing of anybody else's.
func (d *directory) begin(s state) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("reading data directory: %w", err)
	}
	for _, entry := range entries {
		if durable.IsTemporary(entry.Name()) {
			if err := os.Remove(d.file(entry.Name())); err != nil {
				return fmt.Errorf("cleaning data directory: %w", err)
			}
		} else if entry.Name() != dirlock.File {
			return fmt.Errorf("%s holds %s but no %s: it is not a data directory of this program, or has lost its state: "+
				"use an empty directory, or restore it whole", d.path, entry.Name(), stateFile)
		}
	}
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding state: %w", err)
	}
	d.state = s
	return durable.WriteFile(d.file(firstStartFile), append(content, '\n'), 0o600)
}

// finish ends the first start.
func (d *directory) finish() error {
	if err := os.Rename(d.file(firstStartFile), d.file(stateFile)); err != nil {
		return fmt.Errorf("finishing first start: %w", err)
	}
	if err := durable.SyncDir(d.path); err != nil {
		return fmt.Errorf("finishing first start: %w", err)
	}
	d.first = false
	return nil
}

func (d *directory) close() error { return d.lock.Release() }

// prepare makes the data directory, or holds one that exists to what it must be: our own, where nobody else can put files.
func prepare(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making data directory %s: %w", path, err)
	}
	switch err := os.Mkdir(path, 0o700); {
	case err == nil:
		if err := durable.SyncDir(filepath.Dir(path)); err != nil {
			return fmt.Errorf("making data directory: %w", err)
		}
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("making data directory: %w", err)
	}
	if err := checkDirectory(path); err != nil {
		return err
	}
	parent, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("checking data directory: %w", err)
	}
	if parent.Mode().Perm()&0o002 != 0 && parent.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("checking data directory: anybody can replace %s, because its parent %s is writable for all (mode %04o)",
			path, filepath.Dir(path), parent.Mode().Perm())
	}
	// What lies in it is for us alone, whatever the directory's maker thought.
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("checking data directory: %w", err)
	}
	return nil
}

// checkDirectory demands a real directory of our own that nobody else can write to.
func checkDirectory(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("checking directory: %w", err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("checking directory: %s is a symbolic link: give the place that it points to", path)
	}
	if !info.IsDir() {
		return fmt.Errorf("checking directory: %s is not a directory", path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("checking directory: %s belongs to user %d, this program runs as %d", path, owner.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("checking directory: others can write to %s (mode %04o): chmod go-w it", path, info.Mode().Perm())
	}
	return nil
}

// checkPublicURL accepts scheme and host alone, in the one spelling that it will have in certificates.
func checkPublicURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.Scheme+"://"+u.Host != s {
		return fmt.Errorf("public URL %q must be https://HOST[:PORT], or http://, without a path", s)
	}
	if strings.ToLower(s) != s {
		return fmt.Errorf("public URL %q must be in lower case", s)
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("public URL %q names no host that clients could reach", s)
	}
	return nil
}

package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links are followed, as the kernel has it.
const maxLinks = 40

// Resolve follows symbolic links within the host's root, as a process of the
// host would, and says which directories and links it went through, the last
// included. Of a path that does not exist it goes as far as there is something.
func (e *Examination) Resolve(path string) (resolved string, through []string, err error) {
	root := filepath.Clean("/" + e.Root)
	rest := strings.TrimPrefix(filepath.Clean(path), strings.TrimSuffix(root, "/"))
	at, links := root, 0
	through = []string{at}
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if at != root {
				at = filepath.Dir(at)
			}
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			return filepath.Join(next, rest), through, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			through = append(through, at)
			continue
		}
		links++
		if links > maxLinks {
			return next, through, fmt.Errorf("%s: too many symbolic links", path)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return next, through, err
		}
		if filepath.IsAbs(target) {
			at = root
		}
		rest = target + "/" + rest
	}
	return at, through, nil
}

// Intruder says why others than root, the examined user and the agent can
// change what lies at a path, or put something else there: "" if they can't.
func (e *Examination) Intruder(path string) string {
	at, why := e.Weakness(path)
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%s %s", e.Name(at), why)
}

// Weakness is the file or directory on the way to a path that others can
// change, and why they can.
func (e *Examination) Weakness(path string) (at, why string) {
	resolved, through, err := e.Resolve(path)
	if err != nil && !Missing(err) {
		return "", "" // the reader of the file says so
	}
	for _, at := range through {
		info, err := os.Stat(at) // none is a link, but what the root's own name may be
		if err != nil {
			return "", ""
		}
		if why := e.changeable(info, at == resolved); why != "" {
			return at, why
		}
	}
	return "", ""
}

// changeable says why others can change a file, or what lies in a directory.
// target says that it is what was asked about and not a directory above.
func (e *Examination) changeable(info fs.FileInfo, target bool) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	if uid := int(stat.Uid); uid != 0 && uid != e.UID && !slices.Contains(e.Trusted, uid) {
		return fmt.Sprintf("belongs to uid %d", uid)
	}
	mode := info.Mode().Perm()
	// Of a sticky directory, others cannot replace what is not theirs.
	if info.IsDir() && !target && info.Mode()&fs.ModeSticky != 0 {
		return ""
	}
	if mode&0o002 != 0 {
		return fmt.Sprintf("has mode %04o: everybody can write it", mode)
	}
	// A user's own group is the default of many systems.
	if mode&0o020 != 0 && stat.Gid != 0 && (e.UID == 0 || int(stat.Gid) != e.UID) {
		return fmt.Sprintf("has mode %04o: group %d can write it", mode, stat.Gid)
	}
	return ""
}

// CheckWritable adds a finding if others can change what lies at a path.
func (e *Examination) CheckWritable(code, path string) {
	if why := e.Intruder(path); why != "" {
		e.Find(code, path, "%s", why)
	}
}

// MaxDepth bounds how deep directories are looked into: policies and trust roots
// lie flat.
const MaxDepth = 3

// CheckTree adds a finding for each file and directory that others can change.
func (e *Examination) CheckTree(code, path string, depth int) {
	if !e.Exists(path) {
		return
	}
	e.CheckWritable(code, path)
	if depth == MaxDepth {
		return
	}
	for _, entry := range e.ListDir(path) {
		e.CheckTree(code, entry, depth+1)
	}
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/podman/access"
)

const (
	// maxFile bounds every file but policy.json, in bytes. Units, scripts and
	// configurations have a few KiB; a storage's list of ten thousand images
	// has some MiB.
	maxFile = 16 << 20
	// maxEntries bounds the entries of one directory that are looked at: no
	// directory of configuration has that many.
	maxEntries = 4096
)

// checks are all there are. Their order is that of the catalog.
var checks = []func(context.Context, *snapshot){
	checkPolicy, checkScopes, checkTransports,
	checkLookaside,
	checkRegistries, checkShortNames, checkExtension,
	checkAgent, checkClock, checkCompiledOut,
	checkFiles,
	checkCommands, checkEnvironment, checkRemote, checkCRIO,
	checkUsers,
	checkStores, checkImages, checkOthers,
}

// snapshot is the host as one examination sees it. Checks read from it and add
// findings to it.
type snapshot struct {
	Config
	policy   policyFile
	accounts []account
	agentUID int            // the user of the agent, who owns its key; 0 if that is not known
	reach    *access.Access // by access()
	reachErr error
	findings []Finding
}

// take reads what several checks need.
func take(c Config) *snapshot {
	s := &snapshot{Config: c}
	s.agentUID = s.ownerOf(c.Intent.SecretKey)
	s.policy = s.readPolicy(c.Host.PolicyJSONs())
	s.accounts = s.readAccounts()
	return s
}

// find adds a finding. The severity and the remedy are those of the catalog.
func (s *snapshot) find(code, where, format string, args ...any) {
	c := cause(code)
	s.findings = append(s.findings, Finding{
		Code: code, Severity: c.Severity, Where: s.name(where),
		Message: fmt.Sprintf(format, args...), Remedy: c.Remedy, Fixable: c.Fixable,
	})
}

// at is where a path that a file of the host names lies for us.
func (s *snapshot) at(path string) string {
	if s.Host.Root == "" || strings.HasPrefix(path, s.Host.Root+"/") {
		return path
	}
	return filepath.Join(s.Host.Root, path)
}

// name is a path as the host has it, for reports.
func (s *snapshot) name(path string) string {
	if s.Host.Root == "" {
		return path
	}
	return strings.ReplaceAll(path, strings.TrimSuffix(s.Host.Root, "/")+"/", "/")
}

// read returns a file of the host; false if there is none. One that cannot be
// read is a finding.
func (s *snapshot) read(path string) ([]byte, bool) {
	resolved, _, err := s.resolve(path)
	if err == nil && resolved == s.at("/dev/null") { // systemd's way to mask a unit
		return nil, false
	}
	if err == nil {
		data, e := configfile.Read(resolved, maxFile)
		if e == nil {
			return data, true
		}
		err = e
	}
	if !missing(err) {
		s.unreadable(path, err)
	}
	return nil, false
}

// list returns the entries of a directory of the host with one of the
// extensions, or all without one, in order. A directory that is not there has
// none; one that cannot be read is a finding.
func (s *snapshot) list(dir string, extensions ...string) []string {
	resolved, _, err := s.resolve(dir)
	if err != nil {
		if !missing(err) {
			s.unreadable(dir, err)
		}
		return nil
	}
	// Opening anything else, such as a FIFO, must not wait.
	f, err := os.OpenFile(resolved, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if !missing(err) {
			s.unreadable(dir, err)
		}
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	names, err := f.Readdirnames(maxEntries)
	if err != nil && len(names) == 0 {
		return nil // empty, or no directory
	}
	if len(names) == maxEntries {
		s.unreadable(dir, fmt.Errorf("more than %d entries", maxEntries))
	}
	var out []string
	for _, name := range names {
		if len(extensions) == 0 || hasExtension(name, extensions) {
			out = append(out, filepath.Join(dir, name))
		}
	}
	slices.Sort(out)
	return out
}

func hasExtension(name string, extensions []string) bool {
	for _, e := range extensions {
		if strings.HasSuffix(name, e) {
			return true
		}
	}
	return false
}

// exists reports whether there is something at a path.
func (s *snapshot) exists(path string) bool {
	_, _, err := s.resolve(path)
	return err == nil
}

func (s *snapshot) unreadable(path string, err error) {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	s.find("unreadable", path, "%s", s.name(err.Error()))
}

// missing says that there is no file, or that what should be a directory above
// it is none.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(err.Error(), "not a directory")
}

// ownerOf is the user that a file of the host belongs to; 0 if that is not
// known.
func (s *snapshot) ownerOf(path string) int {
	if path == "" {
		return 0
	}
	resolved, _, err := s.resolve(s.at(path))
	if err != nil {
		return 0
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return 0
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return 0
}

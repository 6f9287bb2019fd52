// Package reload keeps the rules of a running gate those of the files on disk.
//
// [Watcher.Run] looks at the files every few seconds. When they have changed
// and come to rest it loads them and gives them to [gate.Gate.Reload]; requests
// under way are not disturbed. Files that cannot be loaded change nothing: the
// last good rules stay in force, and [Status] says since when, and what is
// wrong, until the files are good again. There is no state in which nothing is
// enforced.
//
// The files are compared by content, and not watched by the kernel: a policy
// may lie on a network file system or be a link that Kubernetes moves.
package reload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// interval is how often the files are looked at. A revocation takes two of
// them: one to be seen, and one to see that the file is complete.
const interval = 2 * time.Second

// maxFile bounds what is read of one file to see whether it has changed, in
// bytes: more than a policy or a trust root may have.
const maxFile = 16 << 20

// Config is what a [Watcher] is made from. All of it is required but the two
// functions at its end.
type Config struct {
	Gate *gate.Gate
	// Set is what the gate was made from.
	Set *policy.Set
	// Files are the files, and directories of files, that Load reads.
	Files []string
	// Seen is how they were before Set was read from them, see [Look]. What was
	// changed since is loaded. The zero value stands for how they are at [New].
	Seen State
	// Load reads policies and trust roots anew.
	Load func(context.Context) (*policy.Set, []*trust.Root, error)
	// Changed is called, if it is not nil, after each attempt to load; one at a
	// time.
	Changed func(Status)
	// Notice is called, if it is not nil, once for each announcement that is due:
	// an exception that ends, a pin to be reviewed.
	Notice func(policy.Notice)
}

// Status is what the gate enforces, and whether that is what the files say.
type Status struct {
	// Enforced is when the rules in force were loaded.
	Enforced time.Time
	// Set is in force.
	Set *policy.Set
	// Err says why the files as they are now are not in force; nil if they are.
	Err error
	// Since is when they ceased to be, if Err is set.
	Since time.Time
}

// Watcher keeps one gate's rules current.
type Watcher struct {
	config    Config
	announced map[policy.Notice]bool

	mu     sync.Mutex
	status Status
}

// New makes a watcher for a gate that was just made from the same files.
func New(c Config) *Watcher {
	if c.Seen == (State{}) {
		c.Seen = Look(c.Files)
	}
	return &Watcher{config: c, announced: make(map[policy.Notice]bool), status: Status{Enforced: time.Now(), Set: c.Set}}
}

// Status is the state of affairs. It may be called from any goroutine.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Run watches until the context ends, and returns its error.
func (w *Watcher) Run(ctx context.Context) error {
	return Watch(ctx, w.config.Files, w.config.Seen, func() { w.announce(time.Now()) }, w.load)
}

// State is how files were at one moment. What cannot be read is a state too.
type State [sha256.Size]byte

// Look takes the state of files, and of directories of files. Who watches files
// that it read takes it before it reads them: what is written meanwhile would
// otherwise be taken for what was read.
func Look(files []string) State { return fingerprint(files) }

// Watch calls changed whenever files, or directories of files, are not as they
// were seen last, and have come to rest; and look, if it is not nil, each time before they are looked at.
// It ends with the context, and returns its error.
func Watch(ctx context.Context, files []string, seen State, look func(), changed func(context.Context)) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	loaded, last := seen, seen
	for {
		if look != nil {
			look()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
		}
		now := Look(files)
		// A file that is being written changes from one look to the next.
		if now != loaded && now == last {
			loaded = now
			changed(ctx)
		}
		last = now
	}
}

// announce gives each notice of the policies in force once.
func (w *Watcher) announce(now time.Time) {
	if w.config.Notice == nil {
		return
	}
	due := make(map[policy.Notice]bool)
	for _, n := range w.Status().Set.Enforcement.Notices(now) {
		due[n] = true
		if !w.announced[n] {
			w.config.Notice(n)
		}
	}
	w.announced = due
}

func (w *Watcher) load(ctx context.Context) {
	set, roots, err := w.config.Load(ctx)
	if err == nil {
		err = w.config.Gate.Reload(set, roots)
	}
	w.mu.Lock()
	switch {
	case err == nil:
		w.status = Status{Enforced: time.Now(), Set: set}
	case w.status.Err == nil:
		w.status.Err, w.status.Since = err, time.Now()
	default:
		w.status.Err = err
	}
	status := w.status
	w.mu.Unlock()
	if w.config.Changed != nil {
		w.config.Changed(status)
	}
}

// fingerprint tells one state of the files from another.
func fingerprint(files []string) State {
	h := sha256.New()
	for _, path := range files {
		err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && name == path {
				return err
			}
			if d.IsDir() {
				return fs.SkipDir
			}
			if name != path && strings.HasPrefix(d.Name(), ".") {
				return nil
			}
			fmt.Fprintf(h, "%q\n", name)
			return hashFile(h, name)
		})
		if err != nil {
			fmt.Fprintf(h, "%q: %v\n", path, err)
		}
	}
	return State(h.Sum(nil))
}

// hashFile hashes a regular file, or what a link leads to.
func hashFile(h io.Writer, name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(h, io.LimitReader(f, maxFile))
	return err
}

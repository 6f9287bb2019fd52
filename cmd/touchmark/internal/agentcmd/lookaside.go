package agentcmd

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/lookaside"
)

// newLookaside makes the handler with which the agent answers podman and its kin; it is mounted at [lookaside.Prefix]. The host says whose configuration it
// is.
func newLookaside(c *hostconfig.Config, host podman.Host, admitter gate.Admitter, key *countersign.Key) (http.Handler, error) {
	files := &clientFiles{host: host}
	if err := files.load(); err != nil {
		return nil, err
	}
	return lookaside.New(lookaside.Config{
		Admitter: admitter, Key: key, Logical: files.logical, Source: files.source, Chain: files.chain, User: host.User(),
		Required: func(logical string) bool { return withinScopes(c.Podman.Scopes, logical) },
	})
}

// withinScopes reports whether policy.json demands our signature of a name: under the scopes that were installed, in each of their spellings, or everywhere if none
// are named.
func withinScopes(scopes []string, logical string) bool {
	within := podman.DockerScopes(logical)
	if normal, err := attach.NormalizeRepository(logical); err == nil { // registry.example:443 for registry.example
		within = append(within, podman.DockerScopes(normal)...)
	}
	return len(scopes) == 0 || slices.ContainsFunc(within, func(s string) bool { return slices.Contains(scopes, s) })
}

// lookInterval is how long a change of registries.conf or registries.d may go unnoticed.
const lookInterval = time.Second

// clientFiles are the files that clients and their agent share. They are read again when they change; while they can't be read, nothing is decided,
// as clients themselves refuse to work then.
type clientFiles struct {
	host podman.Host

	mu       sync.Mutex
	looked   time.Time
	stamp    string
	access   *access.Access
	chained  func(physical string) (lookaside string, ok bool)
	unusable error
}

func (f *clientFiles) logical(physical string) ([]string, error) {
	a, _, err := f.current()
	if err != nil {
		return nil, err
	}
	return a.Table().Logical(physical)
}

func (f *clientFiles) source(physical string, withCredentials bool) (attach.Source, error) {
	a, _, err := f.current()
	if err != nil {
		return attach.Source{}, err
	}
	return a.Source(physical, withCredentials)
}

func (f *clientFiles) chain(physical string) (string, bool) {
	_, chained, err := f.current()
	if err != nil {
		return "", false
	}
	lookaside, ok := chained(physical)
	return lookaside, ok && lookaside != ""
}

// current reads the files anew if they have changed.
func (f *clientFiles) current() (*access.Access, func(string) (string, bool), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) >= lookInterval {
		if f.stampNow() != f.stamp {
			f.unusable = f.load()
		}
		f.looked = time.Now()
	}
	return f.access, f.chained, f.unusable
}

// load reads the files. What was read before stays, if there is an error. A change while they are read is seen the next time.
func (f *clientFiles) load() error {
	f.stamp = f.stampNow()
	a, err := access.Load(f.host, authFiles()...)
	if err != nil {
		return err
	}
	chained, err := install.Chain(f.host)
	if err != nil {
		return fmt.Errorf("lookasides of others: %w", err)
	}
	f.access, f.chained = a, chained
	return nil
}

// authFiles are the file with credentials that the agent is told to use, as podman and skopeo may be; otherwise those of "podman login" count.
func authFiles() []string {
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		return []string{file}
	}
	return nil
}

// stampNow changes when one of the files does.
func (f *clientFiles) stampNow() string {
	paths := slices.Concat(f.host.RegistriesConfs(), f.host.RegistriesConfD(), f.host.RegistriesD(), []string{install.DisplacedFile(f.host)})
	var stamp strings.Builder
	for _, path := range paths {
		stampOf(&stamp, path)
		entries, err := os.ReadDir(path)
		if err != nil {
			continue // a file, or nothing
		}
		for _, e := range entries {
			stampOf(&stamp, filepath.Join(path, e.Name()))
		}
	}
	return stamp.String()
}

func stampOf(out *strings.Builder, path string) {
	if info, err := os.Stat(path); err == nil {
		fmt.Fprintf(out, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
}

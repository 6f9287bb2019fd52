// Package registriesd reads registries.d, the files that tell containers/image
// where signatures lie (containers-registries.d(5)).
//
// [Load] reads as docker.loadRegistryConfiguration of go.podman.io/image/v5
// does: every *.yaml of the directories, of two files with one name only that
// of the directory that overrides, one default-docker in all files, each
// namespace in one file only. As there, a key that is unknown is ignored; one
// that stands twice is an error.
//
// [Config.For] answers what holds for one repository, and in which file it
// stands. Each of lookaside, lookaside-staging and use-sigstore-attachments is
// looked for by itself: the most specific namespace that says something of it
// wins.
package registriesd

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/podman"
)

const (
	// MaxBytes bounds one file: distributions' have a few hundred bytes.
	MaxBytes = 1 << 20
	// maxFiles bounds the files of all directories.
	maxFiles = 1024
	// DefaultKey is the key of what holds for every registry.
	DefaultKey = "default-docker"
)

// Config is what all files say together.
type Config struct {
	// Files are the files in the order in which they are read.
	Files []File
}

// File is one file of registries.d.
type File struct {
	Path string
	// Default is default-docker; nil if the file has none, or an empty one.
	Default *Entry
	// Docker are the namespaces: a repository, a parent of it, a registry or a
	// *.wildcard; for a single image a reference with tag or digest.
	Docker map[string]Entry
}

// Entry is what one file says of one namespace.
type Entry struct {
	// Lookaside is where signatures are read; "" where the entry is silent. The
	// old name, sigstore, counts where the new one is empty.
	Lookaside string
	// Staging is where they are written; "" where the entry is silent.
	Staging string
	// UseSigstoreAttachments is nil where the entry is silent.
	UseSigstoreAttachments *bool
}

// Namespace is what holds for one repository.
type Namespace struct {
	// Lookaside is the base URL where signatures are read, without the
	// repository's path; "" is [podman.Host.DefaultLookaside].
	Lookaside string
	// Staging is the base URL where they are written: of the most specific
	// entry that has lookaside-staging or lookaside; "" is the default too.
	Staging string
	// UseSigstoreAttachments says whether .sig tags are read and written.
	UseSigstoreAttachments bool
	// File and Key say which entry Lookaside is from: the namespace or
	// [DefaultKey]; both are "" if from none.
	File, Key string
}

// Load reads the directories, the one that overrides first, as
// [podman.Host.RegistriesD] gives them. A directory that does not exist is an
// empty one. For a release before 2026, which reads one directory alone, pass
// the first of the user's and /etc's that exists.
func Load(dirs []string) (*Config, error) {
	c, err := load(dirs)
	if err != nil {
		return nil, fmt.Errorf("reading registries.d: %w", err)
	}
	return c, nil
}

func load(dirs []string) (*Config, error) {
	byName := map[string]string{}
	for _, dir := range slices.Backward(dirs) {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && strings.HasSuffix(e.Name(), ".yaml") {
				byName[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	if len(byName) > maxFiles {
		return nil, fmt.Errorf("%d files: more than %d", len(byName), maxFiles)
	}
	c := &Config{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		data, err := configfile.Read(byName[name], MaxBytes)
		if errors.Is(err, fs.ErrNotExist) { // a link that leads nowhere
			continue
		}
		if err != nil {
			return nil, err
		}
		f, err := ParseFile(data, byName[name])
		if err != nil {
			return nil, err
		}
		c.Files = append(c.Files, *f)
	}
	return c, c.Check()
}

// ParseFile reads one file's text. The path is for errors and answers.
func ParseFile(data []byte, path string) (*File, error) {
	type entry struct {
		Lookaside  string `yaml:"lookaside"`
		Staging    string `yaml:"lookaside-staging"`
		OldRead    string `yaml:"sigstore"`
		OldStaging string `yaml:"sigstore-staging"`
		Attached   *bool  `yaml:"use-sigstore-attachments"`
	}
	var doc struct {
		Default *entry           `yaml:"default-docker"`
		Docker  map[string]entry `yaml:"docker"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	convert := func(e entry) Entry {
		out := Entry{Lookaside: e.Lookaside, Staging: e.Staging, UseSigstoreAttachments: e.Attached}
		if out.Lookaside == "" {
			out.Lookaside = e.OldRead
		}
		if out.Staging == "" {
			out.Staging = e.OldStaging
		}
		return out
	}
	f := &File{Path: path, Docker: map[string]Entry{}}
	if doc.Default != nil {
		d := convert(*doc.Default)
		f.Default = &d
	}
	for key, e := range doc.Docker {
		f.Docker[key] = convert(e)
	}
	return f, nil
}

// Check refuses what makes clients refuse the whole configuration: a namespace,
// or default-docker, in two files.
func (c *Config) Check() error {
	seen := map[string]string{}
	for _, f := range c.Files {
		keys := slices.Sorted(maps.Keys(f.Docker))
		if f.Default != nil {
			keys = append(keys, DefaultKey)
		}
		for _, key := range keys {
			if other, ok := seen[key]; ok {
				return fmt.Errorf("%q stands both in %s and in %s: clients refuse every image", key, other, f.Path)
			}
			seen[key] = f.Path
		}
	}
	return nil
}

// Entry is what stands under a key, in whichever file; ok says whether anything
// does.
func (c *Config) Entry(key string) (e Entry, file string, ok bool) {
	for _, f := range c.Files {
		if key == DefaultKey {
			if f.Default != nil {
				return *f.Default, f.Path, true
			}
			continue
		}
		if e, ok := f.Docker[key]; ok {
			return e, f.Path, true
		}
	}
	return Entry{}, "", false
}

// Below are the keys of all namespaces within a namespace, itself included, in
// order: those whose entries override an entry of this namespace. For a
// registry without a port these are only repositories and tags below it; for a
// *.wildcard all registries of the domain.
func (c *Config) Below(namespace string) []string {
	var out []string
	for _, f := range c.Files {
		for key := range f.Docker {
			if Within(key, namespace) {
				out = append(out, key)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Within reports whether a namespace is another or lies in it: whether every
// repository to which the one applies is one to which the other does, too.
func Within(namespace, other string) bool {
	return slices.Contains(podman.DockerScopes(namespace), other)
}

// For is what holds for images of a repository, under its physical name; ok
// says whether any file says anything of where its signatures are read.
func (c *Config) For(physicalRepository string) (n Namespace, ok bool) {
	attachments, staging := false, false
	for _, key := range append(podman.DockerScopes(physicalRepository), DefaultKey) {
		e, file, found := c.Entry(key)
		if !found {
			continue
		}
		if !ok && e.Lookaside != "" {
			n.Lookaside, n.File, n.Key, ok = e.Lookaside, file, key, true
		}
		if write := e.Staging; !staging && (write != "" || e.Lookaside != "") {
			if write == "" {
				write = e.Lookaside
			}
			n.Staging, staging = write, true
		}
		if !attachments && e.UseSigstoreAttachments != nil {
			n.UseSigstoreAttachments, attachments = *e.UseSigstoreAttachments, true
		}
	}
	return n, ok
}

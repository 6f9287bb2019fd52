package access

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/location"
)

// Limits on registries.conf. The one that Fedora ships has 5 KiB, with aliases for 100 images 15 KiB.
const (
	maxConf    = 1 << 20 // bytes of one file
	maxDropIns = 256
)

// nowhere is a directory that does not exist, by Debian's policy too, for the library to look for drop-ins in.
const nowhere = "/nonexistent"

// registriesConf is registries.conf with its drop-ins.
type registriesConf struct {
	rules      map[string]rule // by prefix
	helpers    []string        // credential-helpers, in their order
	shortNames ShortNames
	files      []string // that were read
}

// rule is a [[registry]] and the file it is from.
type rule struct {
	sysregistriesv2.Registry
	from string
}

// readRegistriesConf reads the first main file that exists and the drop-ins: all names that there are in the directories, the first directory's if several have one.
func readRegistriesConf(mains, dropIns []string) (*registriesConf, error) {
	c := &registriesConf{rules: map[string]rule{}, shortNames: ShortNames{Aliases: map[string]string{}}}
	for _, main := range mains {
		err := c.read(main)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		break
	}
	byName := map[string]string{}
	for _, dir := range dropIns {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading drop-ins of registries.conf: %w", err)
		}
		for _, e := range entries {
			if _, ok := byName[e.Name()]; !ok && !e.IsDir() && strings.HasSuffix(e.Name(), ".conf") {
				byName[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	if len(byName) > maxDropIns {
		return nil, fmt.Errorf("reading drop-ins of registries.conf: %d files in %s, at most %d are read", len(byName), strings.Join(dropIns, ", "), maxDropIns)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		// A link that leads nowhere is no drop-in.
		if err := c.read(byName[name]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return c, nil
}

// read adds what one file says. The file is read by the library, alone, so that it is known which rule is from where.
func (c *registriesConf) read(file string) error {
	text, err := configfile.Read(file, maxConf)
	if err != nil {
		return fmt.Errorf("reading registries.conf: %w", err)
	}
	conf, err := sysregistriesv2.TryUpdatingCache(&types.SystemContext{SystemRegistriesConfPath: file, SystemRegistriesConfDirPath: nowhere})
	// The library keeps what it reads, for whoever asks for the same file.
	sysregistriesv2.InvalidateCache()
	if err != nil {
		return fmt.Errorf("reading registries.conf: %w", err)
	}
	// The library does not give out aliases and the mode, and gives the credential helpers that it takes by default as if the file said so.
	var rest struct {
		CredentialHelpers []string          `toml:"credential-helpers"`
		Mode              string            `toml:"short-name-mode"`
		Aliases           map[string]string `toml:"aliases"`
	}
	if err := toml.Unmarshal(text, &rest); err != nil {
		return fmt.Errorf("reading registries.conf: %s: %w", file, err)
	}
	for _, r := range conf.Registries {
		c.rules[r.Prefix] = rule{r, file}
	}
	if rest.CredentialHelpers != nil {
		c.helpers = rest.CredentialHelpers
	}
	if conf.UnqualifiedSearchRegistries != nil {
		c.shortNames.Search, c.shortNames.From = conf.UnqualifiedSearchRegistries, file
	}
	c.shortNames.Mode = cmp.Or(rest.Mode, c.shortNames.Mode)
	maps.Copy(c.shortNames.Aliases, rest.Aliases)
	c.files = append(c.files, file)
	return nil
}

// rewrites are the rules, in the words of core/location.
func (c *registriesConf) rewrites() []location.Rewrite {
	var out []location.Rewrite
	for _, r := range c.rules {
		rewrite := location.Rewrite{Prefix: r.Prefix, Location: r.Location, Insecure: r.Insecure, Blocked: r.Blocked, From: r.from}
		for _, m := range r.Mirrors {
			pull := location.Always
			switch {
			case r.MirrorByDigestOnly || m.PullFromMirror == sysregistriesv2.MirrorByDigestOnly:
				pull = location.DigestOnly
			case m.PullFromMirror == sysregistriesv2.MirrorByTagOnly:
				pull = location.TagOnly
			}
			rewrite.Mirrors = append(rewrite.Mirrors, location.Mirror{Location: m.Location, Insecure: m.Insecure, Pull: pull})
		}
		out = append(out, rewrite)
	}
	return out
}

// namespaced is the location with namespace-proxy that a repository lies under.
func (c *registriesConf) namespaced(physical string) (string, bool) {
	for _, r := range c.rules {
		for _, e := range append(slices.Clone(r.Mirrors), r.Endpoint) {
			place := cmp.Or(e.Location, r.Prefix)
			if e.NamespaceProxy != "" && under(physical, place) {
				return place, true
			}
		}
	}
	return "", false
}

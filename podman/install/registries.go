package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// The names of our own files.
const (
	lookasideFile = "touchmark.yaml"
	proxyFile     = "touchmark.conf"
	// hostsFile is what a user's copy of the host's lookasideFile is called, beside
	// the user's own.
	hostsFile = "touchmark-host.yaml"
)

// LookasideFile is the file in registries.d that names the agent.
func LookasideFile(h podman.Host) string { return filepath.Join(h.RegistriesDir(), lookasideFile) }

// DisplacedFile is the file, in the format of registries.d, that holds what was
// said there before of the namespaces that the agent is asked about now.
func DisplacedFile(h podman.Host) string {
	return filepath.Join(h.Touchmark(), "podman", "displaced.yaml")
}

// Staging is the directory to which root's clients write the signatures of
// images that they push. Nobody else may: they write through symbolic links, and
// make directories there that belong to whoever pushed first. Users who push
// with signatures have a directory of their own, by an installation of their own.
func Staging(h podman.Host) string { return filepath.Join(h.Root, "/var/lib/touchmark-staging") }

// Chain is the lookaside that clients would have asked about a physical
// repository if the agent were not configured: what the other files of
// registries.d say, and what was displaced. It reads these files now.
func Chain(h podman.Host) (func(physical string) (lookaside string, ok bool), error) {
	c, err := registriesd.Load(h.RegistriesD())
	if err != nil {
		return nil, err
	}
	c.Files = slices.DeleteFunc(c.Files, func(f registriesd.File) bool {
		name := filepath.Base(f.Path)
		return name == lookasideFile || name == hostsFile
	})
	path := DisplacedFile(h)
	s, exists, err := hostfiles.ReadState(path)
	if err != nil {
		return nil, err
	}
	if exists {
		f, err := registriesd.ParseFile(s.Data, path)
		if err != nil {
			return nil, err
		}
		c.Files = append(c.Files, *f)
	}
	return func(physical string) (string, bool) {
		n, ok := c.For(physical)
		return n.Lookaside, ok
	}, nil
}

// registriesD sets the lookaside where policy.json demands a countersignature,
// and .sig tags where a native rule needs them.
func (p *planner) registriesD() error {
	texts, c, fresh, err := p.registriesBefore()
	if err != nil {
		return err
	}
	if own := LookasideFile(p.Host); texts[own] != nil {
		return fmt.Errorf("%s: is there, and %s does not know of it; delete it if Touchmark wrote it", own, place(p.Host).Record)
	}
	table, err := p.table()
	if err != nil {
		return err
	}
	if e, file, _ := c.Entry(registriesd.DefaultKey); strings.HasPrefix(e.Staging, "file:") && !p.Host.User() && p.Form != Native {
		p.note("%s has signatures written to %s: rootless users who may not write there need --remove-signatures for skopeo copy from the scopes to other registries", file, e.Staging)
	}
	root := "file://" + p.Host.Within(Staging(p.Host))
	o := lookasideOptions{agent: "http://" + p.Listen, staging: root, rootStaging: root, attachments: p.Form == Native, native: map[string]string{}}
	if p.Host.User() {
		o.staging = "file://" + p.Host.Within(p.Host.DefaultLookaside())
	}
	if _, err := os.Stat(p.Host.DefaultLookaside()); err == nil {
		o.defaultLookaside = "file://" + p.Host.Within(p.Host.DefaultLookaside())
	}
	others := map[string]bool{}
	for _, scope := range p.asking() {
		reqs := p.merged.Transports["docker"][scope]
		repository, _, _ := strings.Cut(scope, "@")
		if slash := strings.LastIndexByte(repository, '/'); slash >= 0 {
			name, _, _ := strings.Cut(repository[slash:], ":")
			repository = repository[:slash] + name
		}
		places := physical(table, repository)
		o.namespaces = append(o.namespaces, places...)
		for _, place := range places {
			others[place] = others[place] || len(reqs) > 1
			for native, lookaside := range p.Lookasides {
				if registriesd.Within(strings.Replace(scope, ":443", "", 1), native) {
					o.native[place] = lookaside
				}
			}
		}
	}
	o.readsOthers = func(namespace string) bool {
		for place, reads := range others {
			if reads && (registriesd.Within(place, namespace) || registriesd.Within(namespace, place)) {
				return true
			}
		}
		return false
	}
	if len(o.namespaces) == 0 {
		return nil
	}
	l, err := planLookasides(c, texts, o)
	if err != nil {
		return err
	}
	if l.displaced != nil && p.Form != Native {
		p.file(DisplacedFile(p.Host), l.displaced)
	}
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		target := filepath.Join(p.Host.RegistriesDir(), filepath.Base(path))
		hosts := target == LookasideFile(p.Host) // which ours hides
		if hosts {
			target = filepath.Join(p.Host.RegistriesDir(), hostsFile)
		}
		text, edited := l.edited[path]
		switch {
		case edited && p.overrides(path):
			p.file(path, text)
		case edited:
			p.file(target, text)
			p.note("%s is made from %s, whose place it takes: later changes there no longer count", target, path)
		case hosts, fresh && path != target:
			// Releases before 2026 read the user's directory alone once there is one.
			p.file(target, texts[path])
		}
	}
	p.file(LookasideFile(p.Host), l.ours)
	return nil
}

// asking are the scopes of the docker transport whose rule makes clients look
// for what registries.d has to tell them.
func (p *planner) asking() []string {
	if p.Form == Native {
		var out []string
		for _, scope := range slices.Concat(p.Attachments, slices.Sorted(maps.Keys(p.Lookasides))) {
			out = append(out, spellings(scope)...)
		}
		return out
	}
	return slices.DeleteFunc(p.merged.Scopes("docker"), func(scope string) bool {
		return !demands(p.merged.Transports["docker"][scope], p.ours)
	})
}

// registriesBefore is registries.d as it was before Touchmark, and whether the
// user whose configuration this is had no such directory.
func (p *planner) registriesBefore() (texts map[string][]byte, c *registriesd.Config, fresh bool, err error) {
	byName := map[string]string{}
	texts, c = map[string][]byte{}, &registriesd.Config{}
	for _, dir := range slices.Backward(p.Host.RegistriesD()) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, false, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.IsDir() || filepath.Ext(path) != ".yaml" {
				continue
			}
			was, existed, _, err := p.record.Before(path)
			if err != nil {
				return nil, nil, false, err
			}
			if existed {
				delete(texts, byName[e.Name()])
				byName[e.Name()], texts[path] = path, was.Data
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		f, err := registriesd.ParseFile(texts[byName[name]], byName[name])
		if err != nil {
			return nil, nil, false, err
		}
		c.Files = append(c.Files, *f)
	}
	dir := p.Host.RegistriesDir()
	made := p.record != nil && slices.Contains(p.record.Directories, dir)
	fresh = p.Host.User() && (made || len(hostfiles.Missing(dir)) > 0)
	return texts, c, fresh, c.Check()
}

// overrides reports whether a file of registries.d can be edited where it is:
// it is this user's or the administrator's, and not the distribution's.
func (p *planner) overrides(path string) bool {
	dirs := p.Host.RegistriesD()
	return slices.Index(dirs, filepath.Dir(path)) <= slices.Index(dirs, p.Host.RegistriesDir())
}

// table is what registries.conf says of names once the proxies are in it.
func (p *planner) table() (*location.Table, error) {
	own := p.proxyFile()
	rules := slices.DeleteFunc(p.Table.Rules(), func(r location.Rewrite) bool { return r.From == own })
	for registry, proxy := range p.Proxies {
		for _, r := range rules {
			if registriesd.Within(r.Prefix, registry) {
				return nil, fmt.Errorf("%s: has a rule about %q, which would lead past the proxy of %s; take it out first", r.From, r.Prefix, registry)
			}
		}
		u, err := proxyURL(proxy)
		if err != nil {
			return nil, err
		}
		rules = append(rules, location.Rewrite{Prefix: registry, Location: u.Host, Insecure: u.Scheme == "http", From: own})
	}
	return location.New(rules)
}

func (p *planner) proxyFile() string {
	return filepath.Join(p.Host.RegistriesConfDir(), proxyFile)
}

// registriesConf makes the proxies the location of their registries. A mirror
// would enforce nothing: clients that it refuses ask the registry itself.
func (p *planner) registriesConf() error {
	if len(p.Proxies) == 0 {
		return nil
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Written by touchmark install podman; touchmark uninstall podman takes it away.\n")
	for _, registry := range slices.Sorted(maps.Keys(p.Proxies)) {
		u, err := proxyURL(p.Proxies[registry])
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "\n[[registry]]\nprefix = %q\nlocation = %q\n", registry, u.Host)
		if u.Scheme == "http" {
			fmt.Fprintf(&out, "insecure = true\n")
		}
	}
	p.file(p.proxyFile(), out.Bytes())
	return nil
}

// proxyURL reads a proxy's URL, which has a host and nothing else.
func proxyURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("proxy %q: not a URL such as https://proxy.example:5443", s)
	}
	return u, nil
}

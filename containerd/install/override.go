package install

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/core/hostfiles"
)

const (
	// minVerifiers is how many programs containerd should run at least.
	minVerifiers = 10
	// minTimeout is how long it should let one run: the verifier ends after nine
	// seconds, and says why.
	minTimeout = 10 * time.Second
	// dropIn is what our file is called, so that it is read after others.
	dropIn = "99-touchmark.toml"
	// lateDropIn is what it is called among files with letters.
	lateDropIn = "zzz-touchmark.toml"
)

// The plugins without which no verifier is asked, by their full names.
const (
	bindirPlugin   = "io.containerd.image-verifier.v1.bindir"
	transferPlugin = "io.containerd.transfer.v1.local"
)

// main is containerd's own file, on the node.
func (p *planner) main() string {
	if p.Distribution.Config != "" {
		return p.Distribution.Config
	}
	return p.Host.Within(p.Host.Config())
}

// read is containerd's configuration with the changes that are planned so far.
func (p *planner) read() (*config.Config, error) {
	return config.Preview(p.Host, p.main(), p.Release, p.changed)
}

// asItWas reads containerd's configuration as it was before Touchmark.
func (p *planner) asItWas() error {
	if p.last != nil {
		for _, f := range p.last.Files {
			path := p.Host.Within(f.Path)
			if ext := filepath.Ext(path); ext != ".toml" && ext != ".tmpl" {
				continue
			}
			was, existed, _, err := p.last.Before(f.Path)
			if err != nil {
				return err
			}
			p.changed[path] = nil
			if existed {
				p.changed[path] = was.Data
			}
		}
	}
	var err error
	p.before, err = p.read()
	return err
}

// text is a file of containerd's as it is planned so far, and whether there is one.
func (p *planner) text(path string) (text []byte, exists bool, err error) {
	if text, ok := p.changed[path]; ok {
		return text, text != nil, nil
	}
	s, exists, err := hostfiles.ReadState(p.Host.Path(path))
	return s.Data, exists, err
}

// containerds reports whether a file is containerd's configuration, which it reads
// when it starts.
func (p *planner) containerds(path string) bool {
	_, ok := p.changed[p.Host.Within(path)]
	return ok && filepath.Base(path) != hostsFile
}

// overrides closes what keeps containerd from asking verifiers.
func (p *planner) overrides() error {
	if p.ProxyOnly {
		return nil
	}
	p.binDir = p.before.Verifier.BinDir
	if err := p.edits(); err != nil {
		return err
	}
	sets := p.sets()
	switch {
	case len(sets) == 0:
		return nil
	case p.Distribution.Override.Kind == distribution.API:
		p.open = append(p.open, fmt.Sprintf("%s\n\n%s", p.Distribution.Override.How, p.Distribution.Override.Snippet))
		return nil
	}
	return p.drop(sets)
}

// sets are the settings that a later file can override.
func (p *planner) sets() []config.Set {
	var sets []config.Set
	v := p.before.Verifier
	switch {
	case p.BinDir != "":
		p.binDir = p.BinDir
	case !filepath.IsAbs(v.BinDir):
		p.binDir = p.Host.Within(p.Host.BinDir())
	}
	if p.binDir != v.BinDir {
		sets = append(sets, config.Set{Field: config.BinDir, Value: p.binDir})
	}
	if n := max(minVerifiers, p.rank()); v.MaxVerifiers >= 0 && v.MaxVerifiers < p.rank() {
		sets = append(sets, config.Set{Field: config.MaxVerifiers, Value: n})
	}
	if v.PerVerifierTimeout < minTimeout {
		sets = append(sets, config.Set{Field: config.PerVerifierTimeout, Value: minTimeout})
	}
	for _, s := range p.before.CRI.LocalPull {
		switch s.Name {
		case "use_local_image_pull":
			sets = append(sets, config.Set{Field: config.UseLocalImagePull, Value: false})
		case "disable_snapshot_annotations":
			sets = append(sets, config.Set{Field: config.DisableSnapshotAnnotations, Value: true})
			p.note("%s: disable_snapshot_annotations becomes true: snapshotters that fetch layers lazily (stargz, SOCI) fetch them whole", s.File)
		case "discard_unpacked_layers":
			sets = append(sets, config.Set{Field: config.DiscardUnpackedLayers, Value: false})
			p.note("%s: discard_unpacked_layers becomes false: compressed layers stay on the disk", s.File)
		case "image_pull_with_sync_fs":
			sets = append(sets, config.Set{Field: config.ImagePullWithSyncFs, Value: false})
		case "max_concurrent_downloads":
			sets = append(sets, config.Set{Field: config.MaxConcurrentDownloads, Value: 3})
			if n := p.before.CRI.MaxConcurrentDownloads; n > 0 && p.before.Transfer.From["max_concurrent_downloads"] == "" {
				sets = append(sets, config.Set{Field: config.TransferDownloads, Value: n}) // what was meant
			}
		}
	}
	if p.needsHosts() && (p.before.CRI.ConfigPath == "" || p.before.CRI.IgnoresHosts()) {
		if p.before.CRI.ConfigPath != "" {
			p.note("%s: config_path becomes %s alone: of several directories containerd reads no hosts.toml at all in the pulls that ask verifiers. Move there what the others hold: %s",
				p.main(), p.hostsDir(), p.before.CRI.ConfigPath)
		}
		sets = append(sets, config.Set{Field: config.ConfigPath, Value: p.hostsDir()})
	}
	return append(sets, p.requireNRI()...)
}

// requireNRI has containerd make no container without the agent's plugin.
func (p *planner) requireNRI() []config.Set {
	if !p.NRI || p.Mode == Observe {
		return nil
	}
	var sets []config.Set
	n := p.before.NRI
	if n.Disabled {
		sets = append(sets, config.Set{Field: config.NRIDisable, Value: false})
	}
	if !n.Validator.Enabled {
		sets = append(sets, config.Set{Field: config.ValidatorEnable, Value: true})
	}
	if !slices.Contains(n.Validator.RequiredPlugins, nriPlugin) {
		sets = append(sets, config.Set{Field: config.ValidatorRequired, Value: append(slices.Clone(n.Validator.RequiredPlugins), nriPlugin)})
	}
	if n.Validator.TolerateMissing != "" {
		p.note("tolerate_missing_plugins_annotation was %q: no pod may do without required plugins from now on", n.Validator.TolerateMissing)
		sets = append(sets, config.Set{Field: config.ValidatorTolerate, Value: ""})
	}
	return sets
}

// edits take out of files what no later one can: again until nothing is left, since
// several files may disable the same plugin.
func (p *planner) edits() error {
	at := p.before
	for range maxRounds {
		wanted := unoverridable(at)
		if len(wanted) == 0 {
			return nil
		}
		if !p.Fix || p.Distribution.Override.Kind != distribution.DropIn {
			for _, e := range wanted {
				p.open = append(p.open, fmt.Sprintf("%s: %s keeps containerd from asking verifiers, and no other file can override it; --fix takes it out", e.file, e.what))
			}
			return nil
		}
		for _, e := range wanted {
			if err := p.edit(e); err != nil {
				return err
			}
		}
		now, err := p.read()
		if err != nil {
			return err
		}
		if slices.Equal(unoverridable(now), wanted) {
			return nil // it cannot be taken out: ready says so
		}
		at = now
	}
	return nil
}

// maxRounds is how many files may say the same: containerd reads no more of them here.
const maxRounds = 256

// unoverridable is what no later file can undo.
func unoverridable(c *config.Config) []edit {
	var out []edit
	for _, s := range c.CRI.LocalPull {
		if s.Edit {
			out = append(out, edit{file: s.File, what: s.Name + " (" + s.Value + ")", name: s.Name})
		}
	}
	for plugin, from := range map[string]map[string]string{bindirPlugin: c.Verifier.From, transferPlugin: c.Transfer.From} {
		if slices.Contains(c.DisabledPlugins, plugin) {
			out = append(out, edit{file: from["disabled_plugins"], what: "disabled_plugins (" + plugin + ")", plugin: plugin})
		}
	}
	slices.SortFunc(out, func(a, b edit) int { return strings.Compare(a.file+a.what, b.file+b.what) })
	return out
}

// edit is something to be taken out of a file of containerd's.
type edit struct {
	file, what   string
	name, plugin string // a table of registries, or a plugin that is disabled
}

func (p *planner) edit(e edit) error {
	text, _, err := p.text(e.file)
	if err != nil {
		return err
	}
	if e.plugin != "" {
		text, err = enable(text, e.plugin)
	} else {
		if p.original[e.file] == nil {
			p.original[e.file] = text
		}
		if err := p.convert(e.file, p.original[e.file], e.name); err != nil {
			return fmt.Errorf("%s: %s: %w", e.file, e.what, err)
		}
		text, err = takeOut(text, e.name)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", e.file, e.what, err)
	}
	p.write(e.file, text)
	return nil
}

// write plans a file of containerd's, by its path on the node; the last text counts.
func (p *planner) write(path string, text []byte) {
	p.changed[path] = text
	f := hostfiles.File{Path: p.Host.Path(path), Data: text, Mode: 0o644}
	if i := slices.IndexFunc(p.files, func(f hostfiles.File) bool { return f.Path == p.Host.Path(path) }); i >= 0 {
		p.files[i] = f
		return
	}
	p.files = append(p.files, f)
}

// drop writes the drop-in, and has it read.
func (p *planner) drop(sets []config.Set) error {
	text, err := config.Override(p.before.DropInVersion(), sets...)
	if err != nil {
		return err
	}
	if dir, ok := p.before.DropIn(dropIn); ok {
		p.write(filepath.Join(dir, p.lastIn(dir)), text)
		return nil
	}
	target := p.main() // the file that is to import it
	if o := p.Distribution.Override; o.Kind == distribution.Template {
		target, p.templated = o.Path, true
	}
	main, exists, err := p.text(target)
	if err != nil {
		return err
	}
	pattern := cmp.Or(p.Distribution.Override.Import, p.Host.Within(filepath.Join(p.Host.DropIns(), "*.toml")))
	path := filepath.Join(filepath.Dir(pattern), p.lastIn(filepath.Dir(pattern)))
	switch {
	case p.templated && bytes.Contains(main, []byte("imports")):
		p.open = append(p.open, fmt.Sprintf("%s: add '%s' to its imports by hand, and run this again", target, pattern))
		return nil
	case p.templated && exists:
		main = append(fmt.Appendf(nil, "imports = ['%s']\n", pattern), main...)
	case exists:
		if main, err = config.AddImport(main, pattern); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	case p.templated:
		main = fmt.Appendf(nil, "imports = ['%s']\n{{ template \"base\" . }}\n", pattern)
	default: // a containerd without a file has the newest version's defaults
		main = fmt.Appendf(nil, "# Written by touchmark install containerd.\nversion = %d\nimports = ['%s']\n", p.before.DropInVersion(), pattern)
	}
	p.write(path, text) // first: an import that matches nothing is none
	p.write(target, main)
	return nil
}

// lastIn is the name of our file in a directory whose files are read by name, the
// last of which counts.
func (p *planner) lastIn(dir string) string {
	for _, path := range p.before.Files {
		if filepath.Dir(path) == dir && filepath.Base(path) > dropIn {
			return lateDropIn
		}
	}
	return dropIn
}

// ready reads the configuration as it will be.
func (p *planner) ready() error {
	var err error
	if p.after, err = p.read(); err != nil {
		return err
	}
	if p.ProxyOnly || p.Distribution.Override.Kind == distribution.API && len(p.open) > 0 {
		return nil
	}
	if p.templated { // what the distribution makes of its template is seen once it did
		p.note("%s takes effect when %s has been restarted, which writes %s anew; run `touchmark doctor containerd` then", p.Distribution.Override.Path, p.Distribution.Service, p.main())
		return nil
	}
	v := p.after.Verifier
	stays := func(format string, args ...any) { p.open = append(p.open, fmt.Sprintf(format, args...)) }
	switch verdict, why := p.Distribution.Judge(p.after); {
	case verdict == distribution.Proxy:
		p.open = why
		p.note("the registry proxy refuses for every client: docs/proxy.md, and --proxy")
	case verdict == distribution.Fixable && len(p.open) == 0: // or it is said already
		p.open = why
	}
	switch {
	case v.BinDir != p.binDir:
		stays("%s: bin_dir stays %q; --bin-dir takes that directory", v.From["bin_dir"], v.BinDir)
	case v.MaxVerifiers > 0 && v.MaxVerifiers < p.rank():
		stays("%s: max_verifiers stays %d, so that containerd skips %s", v.From["max_verifiers"], v.MaxVerifiers, Program)
	}
	return nil
}

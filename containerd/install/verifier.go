package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/touchmark/touchmark/core/hostfiles"
)

// entries are the files of bin_dir besides ours, in the order in which containerd
// runs them.
func (p *planner) entries() []string {
	found, err := os.ReadDir(p.Host.Path(p.binDir)) // by name
	if err != nil {
		return nil // it will be made, or the doctor says what is wrong
	}
	var out []string
	for _, e := range found {
		if e.Name() != Program {
			out = append(out, e.Name())
		}
	}
	return out
}

// rank is the place of our program among those in bin_dir, from 1.
func (p *planner) rank() int {
	all := append(p.entries(), Program)
	slices.Sort(all)
	return slices.Index(all, Program) + 1
}

// verifier puts the program into bin_dir. From then on images are judged.
func (p *planner) verifier() error {
	if p.ProxyOnly {
		return nil
	}
	if others := p.entries(); len(others) > 0 {
		if p.BinDir != "" && p.BinDir != p.before.Verifier.BinDir {
			return fmt.Errorf("bin_dir %s: holds %q, and containerd would run every file there before each pull; name a directory of its own", p.BinDir, others)
		}
		p.note("%s holds other programs, which every image has to pass, too: %q", p.binDir, others)
	}
	dir := p.Host.Path(p.binDir)
	if info, err := os.Lstat(dir); err == nil && info.Mode().Perm()&0o022 != 0 {
		p.open = append(p.open, p.binDir+": others than its owner can write to it, and replace the program; chmod it to 0755")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f := hostfiles.File{Path: filepath.Join(dir, Program), Mode: 0o755}
	if p.isProgram(f.Path) {
		return fmt.Errorf("%s: is the program itself; move it beside touchmark, such as to /usr/local/bin", f.Path)
	}
	if p.Copy {
		f.Data = p.Content
		p.note("touchmark does not lie beside a copy of its program: where no agent answers, it decides only if containerd finds it in PATH")
	} else {
		f.Link = p.Verifier
	}
	p.files = append(p.files, f)
	return nil
}

// isProgram reports whether a path in bin_dir is the very file that is to be linked
// or copied there: a link would lead to itself.
func (p *planner) isProgram(path string) bool {
	program := p.Verifier
	if !p.Copy {
		program = p.Host.Path(program)
	}
	there, err := os.Lstat(path)
	if err != nil {
		return false
	}
	info, err := os.Lstat(program)
	return err == nil && os.SameFile(there, info)
}

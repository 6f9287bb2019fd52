package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/touchmark/touchmark/core/doctor"
)

// Remedies are what [Fix] cannot do by itself.
type Remedies struct {
	// Install repeats `touchmark install containerd` with its settings; nil if it
	// cannot be repeated.
	Install func(context.Context) error
	// Restart restarts containerd and waits until it answers; nil if that is not
	// wanted, and then the last step says that it is needed.
	Restart func(context.Context) error
}

// Fix closes what the report calls fixable. What it did before an error is
// returned with it. Examine the node again afterwards.
//
// Modes and owners come first, since a file that others can write is not worth
// being put right; then what blocks pulls is moved out of bin_dir, into
// Touchmark's directory; the rest is the installer's, which records what it does.
func Fix(ctx context.Context, c Config, r *doctor.Report, how Remedies) (steps []doctor.Step, restart bool, err error) {
	s := take(ctx, c)
	for _, f := range r.Findings {
		done, err := s.fixFile(f)
		steps = append(steps, done...)
		if err != nil {
			return steps, false, err
		}
	}
	if codes := r.Fixable(installFixes...); len(codes) > 0 {
		if how.Install == nil {
			return s.putBack(steps, errors.New("touchmark install containerd was never run here: run it, which closes "+fmt.Sprint(codes)))
		}
		if err := how.Install(ctx); err != nil {
			return s.putBack(steps, err)
		}
		steps = append(steps, doctor.Step{Codes: codes, Done: "touchmark install containerd was repeated", Undo: "touchmark uninstall containerd"})
	}
	codes := r.Fixable(slices.Concat(restartFixes, settingFixes)...)
	if len(codes) == 0 {
		return steps, false, nil
	}
	if how.Restart == nil {
		return steps, true, nil
	}
	if err := how.Restart(ctx); err != nil {
		return steps, true, err
	}
	return append(steps, doctor.Step{Codes: codes, Done: "containerd was restarted"}), false, nil
}

// What is closed by which means.
var (
	modeFixes = []string{
		"bindir-writable", "bindir-above-writable", "verifier-writable", "touchmark-writable", "path-writable", "containerd-config-writable", "hosts-writable",
		"agent-socket-writable", "config-writable", "policy-writable", "trust-writable", "state-writable",
	}
	moveFixes = []string{"bindir-not-executable", "bindir-not-program", "bindir-subdirectory", "bindir-dangling", "bindir-not-directory", "verifier-impostor"}
	// settingFixes are those for which the installer changes containerd's
	// configuration, which counts when containerd is started.
	settingFixes = []string{
		"bindir-unset", "bindir-relative", "verifier-cut", "verifier-disabled", "verifiers-none", "timeout-zero", "timeout-tiny", "timeout-short", "transfer-disabled",
		"dropin-not-imported",
		"cri-local-pull", "cri-snapshot-annotations", "cri-discard-layers", "cri-mirrors", "cri-configs", "cri-auths", "cri-concurrent-downloads", "cri-sync-fs",
		"nri-disabled", "nri-not-enforced", "nri-not-required", "proxy-path-list", "hosts-path-list",
	}
	installFixes = slices.Concat(settingFixes, []string{
		"bindir-missing", "bindir-empty", "bindir-elsewhere", "bindir-not-directory", "bindir-dangling", "verifier-missing", "verifier-impostor", "verifier-version",
		"bindir-not-executable", "bindir-not-program", "config-missing",
	})
	restartFixes = []string{"config-changed", "verifier-not-loaded"}
)

// fixFile does what is to be done with the file of a finding.
func (s *snapshot) fixFile(f doctor.Finding) ([]doctor.Step, error) {
	switch {
	case !f.Fixable:
		return nil, nil
	case slices.Contains(modeFixes, f.Code):
		return s.Secure(f)
	case f.Code == "credentials-readable":
		step, err := s.Chmod(s.At(f.Where), 0o077)
		return step.For(f.Code), err
	case slices.Contains(moveFixes, f.Code):
		step, err := s.displace(s.At(f.Where))
		return step.For(f.Code), err
	}
	return nil, nil
}

// putBack undoes what was displaced where the installer could not do its part: what
// blocks every pull is better than a bin_dir without a verifier, which admits all.
func (s *snapshot) putBack(steps []doctor.Step, err error) ([]doctor.Step, bool, error) {
	for _, back := range slices.Backward(s.displaced) {
		err = errors.Join(err, back())
	}
	steps = slices.DeleteFunc(steps, func(step doctor.Step) bool { return slices.Contains(moveFixes, step.Codes[0]) })
	return steps, false, err
}

// displace moves what must not be executed out of bin_dir, to where it is kept. A
// link is taken away: what it leads to stays where it is.
func (s *snapshot) displace(path string) (doctor.Step, error) {
	name := s.Name(path)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return doctor.Step{}, nil
	}
	if err != nil {
		return doctor.Step{}, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		if err == nil {
			err = os.Remove(path)
		}
		if err == nil {
			s.displaced = append(s.displaced, func() error { return os.Symlink(target, path) })
		}
		return doctor.Step{Done: name + ": the link was removed", Undo: "ln -s " + target + " " + name}, err
	}
	kept := filepath.Join(s.Host.Touchmark(), "doctor", filepath.Base(path)+"."+s.Now.UTC().Format("20060102T150405Z"))
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return doctor.Step{}, fmt.Errorf("keeping %s: %w", name, err)
	}
	if err := os.Rename(path, kept); err != nil {
		return doctor.Step{}, fmt.Errorf("keeping %s: %w", name, err)
	}
	s.displaced = append(s.displaced, func() error { return os.Rename(kept, path) })
	return doctor.Step{Done: name + ": moved to " + s.Name(kept), Undo: "mv " + s.Name(kept) + " " + name}, nil
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
)

// Remedies are what [Fix] cannot do by itself.
type Remedies struct {
	// Install repeats `touchmark install podman` with its settings; nil if it
	// cannot be repeated.
	Install func(context.Context) error
	// Retire makes the host's own key the only one in its file with public halves;
	// nil if the key is not at hand.
	Retire func(context.Context) error
}

// Fix closes what the report calls fixable. What it did before an error is
// returned with it. Examine the host again afterwards.
//
// Modes and owners come first, since a file that others can write is not worth
// being put right. The rest is the installer's, which records what it does. Where
// it would not, because somebody edited policy.json since, that file is merged with
// what the declared scopes demand, as the installer does it: no verdict becomes
// weaker. The file as it was is kept, and the step says where.
func Fix(ctx context.Context, c Config, r *doctor.Report, how Remedies) (steps []doctor.Step, err error) {
	s := take(c)
	steps, err = s.tighten(r)
	if err != nil {
		return steps, err
	}
	if codes := r.Fixable("keyring-extra"); len(codes) > 0 && how.Retire != nil {
		if err := how.Retire(ctx); err != nil {
			return steps, err
		}
		steps = append(steps, doctor.Step{Codes: codes, Done: s.Name(s.At(s.Intent.Public)) + ": holds the host's own key alone"})
	}
	codes := r.Fixable(slices.Concat(policyFixes, installFixes)...)
	if len(codes) == 0 {
		return steps, nil
	}
	var edited *install.EditedError
	if how.Install != nil {
		switch err := how.Install(ctx); {
		case err == nil:
			return append(steps, doctor.Step{Codes: codes, Done: "touchmark install podman was repeated", Undo: "touchmark uninstall podman"}), nil
		case !errors.As(err, &edited):
			return steps, err
		}
	}
	// The installer leaves files alone that somebody edited. policy.json is put
	// right as it is now.
	if codes = r.Fixable(policyFixes...); len(codes) > 0 && s.Intent.agent() && len(s.Intent.Scopes) > 0 {
		step, err := s.mergePolicy()
		if err != nil {
			return steps, err
		}
		if step.Codes = codes; edited != nil {
			step.Done += "; since somebody edited it, touchmark uninstall podman asks whether to --leave or to --restore it"
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// What is closed by which means.
var (
	modeFixes   = []string{"policy-writable", "keyring-writable", "registriesd-writable", "registries-writable", "config-writable", "key-readable", "state-writable", "store-writable"}
	policyFixes = []string{
		"policy-missing", "default-accepts", "docker-accepts", "scope-accepts", "scope-other-key", "namespace-accepts", "namespace-other-key", "image-accepts",
		"wildcard-accepts", "spelling-accepts", "identity-fixed", "transport-open",
	}
	installFixes = []string{
		"scope-missing", "keyring-missing", "keyring-unusable", "lookaside-missing", "lookaside-overridden", "lookaside-elsewhere",
		"lookaside-other-registry", "staging-missing", "config-missing", "key-missing", "agent-not-listening", "proxy-as-mirror", "proxy-bypassed",
	}
)

// tighten takes from others what they should not have.
func (s *snapshot) tighten(r *doctor.Report) (steps []doctor.Step, err error) {
	for _, f := range r.Findings {
		if !f.Fixable || !slices.Contains(modeFixes, f.Code) {
			continue
		}
		path := s.At(f.Where)
		if f.Code == "key-readable" || f.Code == "state-writable" {
			step, err := s.Chmod(path, map[string]fs.FileMode{"key-readable": 0o077, "state-writable": 0o022}[f.Code])
			if err != nil {
				return steps, err
			}
			if f.Code == "key-readable" && step.Done != "" {
				step.Done += "; whoever read it can sign: touchmark agent key rotate, restart the agent, touchmark agent key retire"
			}
			steps = append(steps, step.For(f.Code)...)
		}
		closed, err := s.Secure(f)
		steps = append(steps, closed...)
		if err != nil {
			return steps, err
		}
	}
	return steps, nil
}

// mergePolicy writes policy.json anew, with what the declared scopes demand.
func (s *snapshot) mergePolicy() (doctor.Step, error) {
	if s.policy.path != "" && s.policy.file == nil {
		return doctor.Step{}, fmt.Errorf("merging policy.json: %s cannot be used", s.Name(s.policy.path))
	}
	ours, err := s.demandOurs()
	if err != nil {
		return doctor.Step{}, fmt.Errorf("merging policy.json: %w", err)
	}
	rules := map[string][]policyjson.Requirement{}
	for _, scope := range s.Intent.Scopes {
		for _, name := range append(spellings(scope), scope) {
			rules[name] = []policyjson.Requirement{ours}
		}
	}
	demand := install.Demand{Rules: rules, KeepDefault: s.Intent.OthersAccepted, OtherTransports: install.Reject}
	if s.Intent.OthersAccepted {
		demand.OtherTransports = install.Keep
	}
	merged := install.Merge(s.policy.file, demand)
	if !s.Intent.OthersAccepted {
		s.closeTransports(merged)
	}
	return s.replace(s.Host.PolicyJSON(), merged.JSON())
}

// closeTransports rejects what comes by transports that are not to be open.
func (s *snapshot) closeTransports(f *policyjson.File) {
	for _, transport := range otherTransports {
		if slices.Contains(s.Intent.Transports, transport) {
			continue
		}
		for _, scope := range f.Scopes(transport) {
			if s.demand(f.Transports[transport][scope]) == accepts {
				f.Set(transport, scope, []policyjson.Requirement{policyjson.Plain(policyjson.Reject)})
			}
		}
	}
}

// demandOurs is the demand for a countersignature of the host's key.
func (s *snapshot) demandOurs() (policyjson.Requirement, error) {
	public := s.Name(s.At(s.Intent.Public))
	if !s.Exists(s.At(s.Intent.Public)) {
		return policyjson.Requirement{}, fmt.Errorf("%s: the host has no key; run touchmark install podman", public)
	}
	text := map[string]any{"type": policyjson.SignedBy, "keyType": "GPGKeys", "keyPath": public}
	if s.Intent.Form == Sigstore {
		text = map[string]any{"type": policyjson.SigstoreSigned, "pki": map[string]string{"caRootsPath": public, "subjectEmail": countersign.Subject}}
	}
	text["signedIdentity"] = map[string]string{"type": policyjson.MatchRepository}
	data, err := json.Marshal(text)
	if err != nil {
		return policyjson.Requirement{}, err
	}
	return policyjson.ParseRequirement("the host's requirement", data)
}

// replace writes a file in one step, and keeps what it was, if it was there.
func (s *snapshot) replace(path string, text []byte) (doctor.Step, error) {
	step := doctor.Step{Done: s.Name(path) + ": written anew", Undo: "rm " + s.Name(path)}
	mode := fs.FileMode(0o644)
	old, err := os.ReadFile(path)
	switch {
	case err == nil:
		kept := filepath.Join(s.Host.Touchmark(), "doctor", filepath.Base(path)+"."+s.Now.UTC().Format("20060102T150405Z"))
		if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
			return doctor.Step{}, fmt.Errorf("keeping %s: %w", s.Name(path), err)
		}
		if err := writeNew(kept, old, 0o600); err != nil {
			return doctor.Step{}, fmt.Errorf("keeping %s: %w", s.Name(path), err)
		}
		step.Undo = "cp " + s.Name(kept) + " " + s.Name(path)
	case !errors.Is(err, fs.ErrNotExist):
		return doctor.Step{}, err
	}
	temporary := path + ".touchmark"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was interrupted
		return doctor.Step{}, err
	}
	if err := writeNew(temporary, text, mode); err != nil {
		return doctor.Step{}, fmt.Errorf("writing %s: %w", s.Name(path), err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return doctor.Step{}, fmt.Errorf("writing %s: %w", s.Name(path), err)
	}
	return step, nil
}

// writeNew writes a file that is not there yet, through to the disk.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

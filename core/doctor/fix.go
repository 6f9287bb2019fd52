package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Step is one thing that a doctor did.
type Step struct {
	// Codes are the causes that it was done for.
	Codes []string `json:"codes"`
	// Done says what was done, and Undo how it is taken back; Undo is "" where
	// nobody would want to.
	Done string `json:"done"`
	Undo string `json:"undo,omitempty"`
}

// For is the step with the cause that it was done for; none if nothing was done.
func (s Step) For(code string) []Step {
	if s.Done == "" {
		return nil
	}
	s.Codes = []string{code}
	return []Step{s}
}

// Secure takes from others what they can write on the way to a finding's file.
func (e *Examination) Secure(f Finding) (steps []Step, err error) {
	path := e.At(f.Where)
	for range maxLinks {
		at, why := e.Weakness(path)
		if why == "" {
			break
		}
		step, err := e.secure(at)
		if err != nil {
			return steps, err
		}
		steps = append(steps, step.For(f.Code)...)
	}
	return steps, nil
}

// secure gives a file or directory to root, or the examined user, alone.
func (e *Examination) secure(path string) (Step, error) {
	step, err := e.Chmod(path, 0o022)
	if err != nil {
		return step, err
	}
	if uid := e.OwnerOf(path); uid != 0 && uid != e.UID && !slices.Contains(e.Trusted, uid) {
		if err := os.Chown(path, e.UID, -1); err != nil {
			return step, fmt.Errorf("giving %s to its user: %w", e.Name(path), err)
		}
		step.Done = strings.TrimPrefix(step.Done+fmt.Sprintf("; %s: owner is now uid %d", e.Name(path), e.UID), "; ")
		step.Undo = strings.TrimPrefix(step.Undo+fmt.Sprintf("; chown %d %s", uid, e.Name(path)), "; ")
	}
	return step, nil
}

// Chmod takes permissions away.
func (e *Examination) Chmod(path string, without fs.FileMode) (Step, error) {
	resolved, _, err := e.Resolve(path)
	if err != nil {
		return Step{}, err
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return Step{}, err
	}
	mode := info.Mode().Perm()
	if mode&without == 0 {
		return Step{}, nil
	}
	if err := os.Chmod(resolved, mode&^without|info.Mode()&fs.ModeSticky); err != nil {
		return Step{}, fmt.Errorf("changing the mode: %w", err)
	}
	return Step{Done: fmt.Sprintf("%s: mode is now %04o", e.Name(resolved), mode&^without), Undo: fmt.Sprintf("chmod %04o %s", mode, e.Name(resolved))}, nil
}

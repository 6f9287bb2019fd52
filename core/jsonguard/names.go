package jsonguard

import (
	"errors"
	"fmt"
	"slices"
)

const (
	// maxNames bounds the names of all objects that a place in the text lies in,
	// and with it what is remembered of them: 8 bytes each.
	maxNames = 32 << 10
	// few names are compared with each new one; more are sorted at the end.
	few = 64
)

// names finds those that stand twice in an object. It remembers hashes: two names
// that have the same are as bad as one that stands twice. There are 2^64.
type names struct {
	hashes []uint64 // of the objects that are open, the outer first
	starts []int    // where each object's begin
}

func (s *names) open() { s.starts = append(s.starts, len(s.hashes)) }

// add reports a name that stands twice, if it is told so early.
func (s *names) add(name []byte) error {
	object := s.hashes[s.starts[len(s.starts)-1]:]
	h := hash(name)
	if len(object) <= few && slices.Contains(object, h) {
		return fmt.Errorf("duplicate name %q", name[:min(len(name), maxPlace)])
	}
	if len(s.hashes) == maxNames {
		return errors.New("too many names at once")
	}
	if len(s.hashes) == cap(s.hashes) {
		s.hashes = slices.Grow(s.hashes, max(few, len(s.hashes)))
	}
	s.hashes = append(s.hashes, h)
	return nil
}

// close ends an object, and reports whether each of its names stands there once.
func (s *names) close() bool {
	last := len(s.starts) - 1
	object := s.hashes[s.starts[last]:]
	s.hashes, s.starts = s.hashes[:s.starts[last]], s.starts[:last]
	if len(object) <= few {
		return true
	}
	slices.Sort(object)
	return len(slices.Compact(object)) == len(object)
}

// hash is FNV-1a. Whoever makes two names with the same hash is refused, so it need
// not be a secret one.
func hash(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range name {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

package main

import (
	"fmt"
	"syscall"
)

// limit takes from this process what judging a document does not need. The files that are open stay open: standard input, output and error.
func limit() error {
	for _, l := range []struct {
		what     string
		resource int
		max      uint64
	}{
		{"memory", syscall.RLIMIT_DATA, maxMemory}, // not RLIMIT_AS: Go reserves more addresses than it uses memory
		{"processor time", syscall.RLIMIT_CPU, maxCPU},
		{"size of core files", syscall.RLIMIT_CORE, 0},
		{"open files", syscall.RLIMIT_NOFILE, 0},
	} {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.resource, &now); err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
		most := min(l.max, now.Max) // a lower limit of the administrator's stays
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
	}
	return nil
}

// Package configfile reads the files that an administrator configures: trust
// roots, policies, certificates.
//
// What lies at a configured path may be another thing than was meant. A FIFO or
// a device must not hang or exhaust whoever reads it, and a file that is far
// too large is not the one that was meant.
package configfile

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// Read reads a regular file, or what a link leads to, of at most limit bytes.
// The error names the file.
func Read(path string, limit int64) ([]byte, error) {
	// Without O_NONBLOCK, opening a FIFO waits until somebody writes. What was opened
	// is asked what it is: what the path leads to may have changed since.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return data, nil
}

// Package hostfilestest has what the tests of installers share: what a host's files are, to
// compare before and after, and an installation that is cut off. It is imported by tests
// only.
//
//	before := hostfilestest.Tree(t, root)
//	err := changes.Apply(hostfilestest.CutOff(t.Context(), n))
package hostfilestest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tree is everything below a directory, by its path there with a slash in front: its mode,
// and of a regular file, after a line break, what is in it.
func Tree(tb testing.TB, root string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		out[name] = info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out[name] += "\n" + string(data)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// CutOff is a context that ends when it was asked a number of times whether it has: each
// is a step of an installation, after which it is killed.
func CutOff(ctx context.Context, after int) context.Context { return &cutOff{ctx, after} }

type cutOff struct {
	context.Context
	after int
}

func (c *cutOff) Err() error {
	c.after--
	if c.after < 0 {
		return context.Canceled
	}
	return nil
}

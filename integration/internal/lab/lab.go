// Package lab is what tests of the built command share: a registry and a private Sigstore as a separate process ([World]), and commands that are run against them.
//
// A test package builds what it needs once, in its TestMain:
//
//	var crane string
//
//	func TestMain(m *testing.M) {
//		os.Exit(lab.Main(m, map[string]*string{"github.com/google/go-containerregistry/cmd/crane": &crane}))
//	}
//
// Clients that are not in go.mod are installed by integration/tools.sh, see [Tool].
package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// touchmark is the command under test, which Main builds.
var touchmark string

// Main builds touchmark and the given main packages, at their version in go.mod, runs the tests, and returns their exit status. The paths of the packages'
// programs are stored in the map's values.
//
// A program that lies in the directory TOUCHMARK_PROGRAMS is not built: make test builds ours once for all packages, in a new directory each time, so that no
// result of other programs is taken from go test's cache.
func Main(m *testing.M, programs map[string]*string) int {
	dir, err := os.MkdirTemp("", "touchmark-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Users of a Host run touchmark, too.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	all := map[string]*string{"github.com/touchmark/touchmark/cmd/touchmark": &touchmark}
	for pkg, path := range programs {
		all[pkg] = path
	}
	for pkg, path := range all {
		*path = filepath.Join(os.Getenv("TOUCHMARK_PROGRAMS"), filepath.Base(pkg))
		if _, err := os.Stat(*path); filepath.IsAbs(*path) && err == nil {
			continue
		}
		*path = filepath.Join(dir, filepath.Base(pkg))
		if out, err := exec.Command("go", "build", "-o", *path, pkg).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

// Program is the path of the touchmark under test, for tests that start it themselves.
func Program() string { return touchmark }

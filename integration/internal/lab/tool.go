package lab

import (
	"os"
	"path/filepath"
	"testing"
)

// Tool returns the path of a client that integration/tools.sh installs, by its name with the version, such as cosign-v3.1.3. Without it the test is skipped, and
// fails if CI=true asks for every test.
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	return require(tb, filepath.Join(tools(tb), name))
}

// tools is the directory where integration/tools.sh puts programs.
func tools(tb testing.TB) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(cache, "touchmark", "tools")
}

// Node returns a command that runs a script of integration/clients/npm with its pinned packages, which integration/tools.sh installs.
func Node(tb testing.TB, node string) Command {
	tb.Helper()
	dir := filepath.Join(repository(tb), "integration", "clients", "npm")
	require(tb, filepath.Join(dir, "node_modules", "@sigstore", "verify"))
	return Command{Program: node, Dir: dir}
}

func require(tb testing.TB, path string) string {
	tb.Helper()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	miss(tb, path+" is missing: run integration/tools.sh")
	return ""
}

// miss ends a test that can't be run, because of what. It is skipped, and fails if CI=true asks for every test.
func miss(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s; CI=true asks for every test", what)
	}
	tb.Skip(what)
}

// repository is the directory of the module that the test runs in.
func repository(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			tb.Fatal("the test does not run inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

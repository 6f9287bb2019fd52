package install_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
)

// A policy.json that others can write enforces nothing, whatever is in it.
// Installing takes that from them, does not give it back when it is repeated,
// and uninstalling leaves the file as it was.
func TestOPS01_FilesThatOthersCanWriteAreTakenFromThem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const mallory = 4711
	h := host(t, "debian", "debian")
	if err := os.Chmod(h.PolicyJSON(), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(h.PolicyJSON(), mallory, mallory); err != nil {
		t.Fatal(err)
	}
	before := hostfilestest.Tree(t, h.Root)
	o := options(h, "registry.example/acme")
	if diff := apply(t, o).Diff(); !strings.Contains(diff, "policy.json: mode 0666, owner 4711:4711 -> mode 0644, owner 0:0") {
		t.Errorf("it is not shown:\n%s", diff)
	}
	for range 2 {
		if owner, mode := ownerOf(t, h.PolicyJSON()); owner != 0 || mode != 0o644 {
			t.Errorf("policy.json belongs to %d, mode %04o", owner, mode)
		}
		o.Scopes = []string{"registry.example/acme", "registry.example/tools"}
		apply(t, o)
	}
	remove(t, h)
	if diff := cmp.Diff(before, hostfilestest.Tree(t, h.Root)); diff != "" {
		t.Error(diff)
	}
	if owner, _ := ownerOf(t, h.PolicyJSON()); owner != mallory {
		t.Errorf("uninstalled, policy.json belongs to %d", owner)
	}
}

func ownerOf(t *testing.T, path string) (uid int, mode os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no owner")
	}
	return int(stat.Uid), info.Mode().Perm()
}

package lab

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// System is an installed operating system with container clients.
type System string

const (
	// Debian12 is the machine's own: podman 4.3.1, skopeo 1.9.3 and buildah 1.28.2, whose support of Sigstore is compiled out.
	Debian12 System = "Debian 12"
	// Debian13 is installed by integration/tools.sh, in a directory: podman 5.4.2, skopeo 1.18.0 and buildah 1.39.3.
	Debian13 System = "Debian 13"
)

// debian13 is the directory's name; integration/tools.sh has it, too.
const debian13 = "debian-13-1"

// root is the system's root directory. The test is skipped, or fails, where it can't be used.
func (s System) root(tb testing.TB) string {
	tb.Helper()
	if os.Geteuid() != 0 {
		miss(tb, "only root can make a host of its own for container clients")
	}
	if s == Debian13 {
		return Tool(tb, debian13)
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil || !strings.Contains(string(release), "ID=debian\n") || !strings.Contains(string(release), `VERSION_ID="12"`) {
		miss(tb, "this machine's own container clients are not those of Debian 12")
	}
	for _, program := range []string{"podman", "skopeo", "buildah", "runc", "newuidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			miss(tb, program+" is missing: install Debian's podman, skopeo, buildah, runc and uidmap")
		}
	}
	return "/"
}

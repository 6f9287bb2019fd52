package podman_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// policyjudge is integration/oracles/policyjudge, a module of its own.
var policyjudge string

// predicates is the program that touchmark runs to judge predicates; it has to lie beside it.
var predicates string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "touchmark-policyjudge-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// It runs on hosts, too.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	policyjudge = filepath.Join(dir, "policyjudge")
	cmd := exec.Command("go", "build", "-C", "../oracles/policyjudge", "-tags", "containers_image_openpgp,containers_image_storage_stub", "-o", policyjudge, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building policyjudge: %v\n%s", err, out)
		return 1
	}
	return lab.Main(m, map[string]*string{"github.com/touchmark/touchmark/cmd/touchmark-predicates": &predicates})
}

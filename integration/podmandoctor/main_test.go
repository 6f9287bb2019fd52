package podmandoctor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// policyjudge is integration/oracles/policyjudge, which has a newer containers/image than the clients that are installed.
var policyjudge string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "touchmark-policyjudge-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	policyjudge = filepath.Join(dir, "policyjudge")
	cmd := exec.Command("go", "build", "-C", "../oracles/policyjudge", "-tags", "containers_image_openpgp,containers_image_storage_stub", "-o", policyjudge, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building policyjudge: %v\n%s", err, out)
		return 1
	}
	return lab.Main(m, nil)
}

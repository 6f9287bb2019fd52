package containerdconfig_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// namespaces skips a test where there are no mount namespaces, which take root's rights; whatever fails within one is a failure. The run of all tests lists
// what was skipped, and fails with CI=true.
func namespaces(t *testing.T) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "unshare", "-m", "true").Run(); err != nil {
		t.Skipf("no mount namespace here: %v", err)
	}
}

// The real containerd reads each distribution's configuration as Load does.
func TestCTRD09_EveryDistributionIsReadAsContainerdDoes(t *testing.T) {
	program := lab.Tool(t, "containerd-v2.4.2")
	namespaces(t)
	fixtures, err := filepath.Glob("../../containerd/distribution/testdata/*")
	if err != nil || len(fixtures) < 10 {
		t.Fatalf("%q, %v", fixtures, err)
	}
	for _, fixture := range fixtures {
		t.Run(filepath.Base(fixture), func(t *testing.T) {
			root, err := filepath.Abs(fixture)
			if err != nil {
				t.Fatal(err)
			}
			h := containerd.Host{Root: root}
			d := distribution.Detect(h)
			file := d.Config // /etc is the fixture's there
			if !strings.HasPrefix(file, "/etc/") {
				file = h.Path(file)
			}
			// A mount namespace of its own, so that nothing of this machine is read.
			wrapper := filepath.Join(t.TempDir(), "containerd")
			script := fmt.Sprintf("#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs none /etc && if [ -d %[1]s/etc ]; then cp -r %[1]s/etc/. /etc/; fi && exec %[2]s \"$@\"' sh \"$@\"\n", root, program)
			must(os.WriteFile(wrapper, []byte(script), 0o700))
			want, err := config.Dump(t.Context(), wrapper, file, config.Newest())
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Load(h, d.Config, config.Newest())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(known(want), known(got), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-containerd +Load:\n%s", diff)
			}
		})
	}
}

// Package skopeo tests that stock skopeo and podman sign with a private Sigstore, and that what podman stores is judged again.
package skopeo

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m, nil)) }

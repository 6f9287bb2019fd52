// Package parents tests that podman pulls one platform of an image of which only the index is signed.
package parents

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m, nil)) }

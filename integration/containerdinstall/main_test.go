package containerdinstall_test

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// verifier is touchmark-containerd.
var verifier string

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, map[string]*string{"github.com/touchmark/touchmark/cmd/touchmark-containerd": &verifier}))
}

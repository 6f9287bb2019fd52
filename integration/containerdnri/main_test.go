package containerdnri

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// verifier is touchmark-containerd, predicates the program that touchmark runs to judge predicates.
var verifier, predicates string

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, map[string]*string{
		"github.com/touchmark/touchmark/cmd/touchmark-containerd": &verifier,
		"github.com/touchmark/touchmark/cmd/touchmark-predicates": &predicates,
	}))
}

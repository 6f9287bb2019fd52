package situations_test

import (
	"flag"
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

var update = flag.Bool("update", false, "write docs/situations.md from situations.yaml")

// predicates is the program that touchmark runs to judge predicates; it has to lie beside it.
var predicates string

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, map[string]*string{"github.com/touchmark/touchmark/cmd/touchmark-predicates": &predicates}))
}

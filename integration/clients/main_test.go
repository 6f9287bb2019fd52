package clients

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

var update = flag.Bool("update", false, "write docs/clients.md from what the tests did")

// conformance verifies files as touchmark verifies images.
var conformance string

// journal collects what the tests did, for docs/clients.md.
var journal record

func TestMain(m *testing.M) {
	status := lab.Main(m, map[string]*string{"github.com/touchmark/touchmark/integration/conformance": &conformance})
	if status == 0 && journal.complete() {
		if err := journal.compare("../../docs/clients.md", *update); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			status = 1
		}
	}
	os.Exit(status)
}

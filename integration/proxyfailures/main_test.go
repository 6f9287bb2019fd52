// Package proxyfailures_test has the registry proxy meet everything that can fail beside it, in every way, and an upstream that does what it can
// to have something else served than what is signed: with the real gate, over real connections.
package proxyfailures_test

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m, nil)) }

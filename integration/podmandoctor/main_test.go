package podmandoctor_test

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m, nil)) }

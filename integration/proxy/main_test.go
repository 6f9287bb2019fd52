// Package proxy_test has real clients pull through the registry proxy: in every situation of the matrix, with logins, and with
// the configuration that "touchmark client-config" prints.
package proxy_test

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// predicates is the program that touchmark runs to judge predicates; it has to lie beside it.
var predicates string

func TestMain(m *testing.M) {
	os.Exit(lab.Main(m, map[string]*string{"github.com/touchmark/touchmark/cmd/touchmark-predicates": &predicates}))
}

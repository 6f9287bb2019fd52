package trust_test

import (
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
)

// A trust root says whom to believe, and for which times.
func ExampleParse() {
	tb := &testing.T{}
	json := coretest.New(tb).TrustedRootJSON(tb)

	root, err := trust.Parse("private", json)
	if err != nil {
		panic(err)
	}
	fmt.Println(root.Name, "has", len(root.CertificateAuthorities), "certificate authority and", len(root.Logs), "logs")
	ca := root.CertificateAuthorities[0]
	fmt.Println(ca.Window.Contains(coretest.Start), ca.Window.Contains(coretest.Start.AddDate(-20, 0, 0)))
	// Output:
	// private has 1 certificate authority and 2 logs
	// true false
}

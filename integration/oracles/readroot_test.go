package oracles

import (
	"testing"

	sgroot "github.com/sigstore/sigstore-go/pkg/root"

	"github.com/touchmark/touchmark/core/trust"
)

// readRoot is a trust root as both verifiers read it.
type readRoot struct {
	text  []byte
	our   *trust.Root
	their *sgroot.TrustedRoot
}

func mustReadRoot(tb testing.TB, text []byte) readRoot {
	tb.Helper()
	our, err := trust.Parse("root", text)
	if err != nil {
		tb.Fatal(err)
	}
	their, err := sgroot.NewTrustedRootFromJSON(text)
	if err != nil {
		tb.Fatal(err)
	}
	return readRoot{text, our, their}
}

// judges prepares both verifiers for an input.
func (in input) judges() (our, their judge, err error) {
	if our, err = oursUnder(in.read.our, in.sample); err != nil {
		return nil, nil, err
	}
	their, err = theirsUnder(in.read.their, in.sample)
	return our, their, err
}

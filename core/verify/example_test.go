package verify_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// Did alice sign this image? Evidence comes from a registry (core/attach), the
// trust root from a file; here both come from a Sigstore in memory.
func ExampleVerify() {
	tb := &testing.T{}
	sigstore := coretest.New(tb)
	image := [32]byte{1, 2, 3} // SHA-256 of the manifest
	bundleJSON, err := bundle.Marshal(sigstore.SignDigest(tb, image, coretest.SignOptions{Identity: coretest.Email("alice@acme.example")}))
	if err != nil {
		panic(err)
	}

	evidence, err := bundle.Parse(bundleJSON)
	if err != nil {
		panic(err)
	}
	root, err := trust.Parse("private", sigstore.TrustedRootJSON(tb))
	if err != nil {
		panic(err)
	}
	matcher, err := identity.NewMatcher(identity.Spec{Issuer: coretest.Issuer, SubjectRegExp: `.*@acme\.example`})
	if err != nil {
		panic(err)
	}
	result, err := verify.Verify(verify.Input{
		Evidence: evidence,
		Artifact: verify.SHA256(image),
		Signer:   verify.Keyless(matcher),
		Root:     root,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("signed by", result.Signer)

	_, err = verify.Verify(verify.Input{
		Evidence: evidence,
		Artifact: verify.SHA256([32]byte{4, 5, 6}), // another image
		Signer:   verify.Keyless(matcher),
		Root:     root,
	})
	var refused *verify.Error
	if errors.As(err, &refused) {
		fmt.Println("refused:", refused.Code)
	}
	// Output:
	// signed by alice@acme.example (from https://issuer.touchmark.example)
	// refused: wrong-artifact
}

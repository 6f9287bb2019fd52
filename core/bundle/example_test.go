package bundle_test

import (
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

// What lies in a bundle, before anything about it is verified.
func ExampleParse() {
	tb := &testing.T{}
	signed := coretest.New(tb).SignDigest(tb, [32]byte{1, 2, 3}, coretest.SignOptions{Identity: coretest.Email("alice@acme.example")})
	bundleJSON, err := bundle.Marshal(signed)
	if err != nil {
		panic(err)
	}

	evidence, err := bundle.Parse(bundleJSON)
	if err != nil {
		panic(err)
	}
	fmt.Println(evidence.Form, evidence.Envelope.PayloadType)
	fmt.Println(len(evidence.Certificates), "certificate,", len(evidence.Entries), "log entry,", len(evidence.Timestamps), "timestamp")

	_, err = bundle.Parse([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	fmt.Println(err)
	// Output:
	// bundle application/vnd.in-toto+json
	// 1 certificate, 1 log entry, 1 timestamp
	// bundle: neither dsseEnvelope nor messageSignature is set
}

package gate_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// May this image run? The policy and the trust root usually come from files
// (policy.Load, trust.Load), and the registry is a real one.
func ExampleGate_Admit() {
	sigstore := coretest.New(&testing.T{})
	root, err := trust.Parse("private", sigstore.TrustedRootJSON(&testing.T{}))
	if err != nil {
		panic(err)
	}
	rules, err := policy.Parse(context.Background(), []byte(`
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images:
  - glob: "registry.example/acme/**"
  authorities:
  - name: team
    keyless:
      trustRootRef: private
      identities:
      - {issuer: "https://issuer.touchmark.example", subject: alice@acme.example}
`), policy.Options{})
	if err != nil {
		panic(err)
	}
	admitter, err := gate.New(gate.Config{Policy: rules, Roots: []*trust.Root{root}})
	if err != nil {
		panic(err)
	}

	image := coretest.Push(&testing.T{}, coretest.NewRegistry(&testing.T{}, true)+"/acme/app:v1", coretest.Image(&testing.T{}, 1))
	digest, err := v1.NewHash(image.DigestStr())
	if err != nil {
		panic(err)
	}
	mirror, err := name.NewRepository(image.Context().Name()) // where it really lies
	if err != nil {
		panic(err)
	}
	verdict := admitter.Admit(context.Background(), gate.Request{
		Repository: "registry.example/acme/app", // what the user typed
		Digest:     digest,
		Source:     attach.Source{Repository: mirror},
	})
	if !verdict.Admitted() {
		fmt.Println(verdict.Outcome, verdict.Code)
		fmt.Println(verdict.Reason)
	}
	// Output:
	// refused unsigned
	// registry.example/acme/app is not signed; policy release wants a signature by alice@acme.example from https://issuer.touchmark.example
}

package policy_test

import (
	"context"
	"fmt"

	"github.com/touchmark/touchmark/core/policy"
)

// What a policy demands of the images of a repository. Whether they fulfil it,
// core/gate decides.
func ExampleParse() {
	set, err := policy.Parse(context.Background(), []byte(`
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: release
spec:
  images:
  - glob: registry.example/acme/**
  authorities:
  - name: team
    keyless:
      identities:
      - issuer: https://login.acme.example
        subjectRegExp: .*@acme\.example
`), policy.Options{})
	if err != nil {
		panic(err)
	}
	for _, p := range set.For("registry.example/acme/app") {
		fmt.Println(p.Name, "wants", p.Authorities[0].Identities[0])
	}
	fmt.Println(len(set.For("registry.example/other")), "policies about registry.example/other")

	_, err = policy.Parse(context.Background(), []byte("apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nspec: {image: []}\n"), policy.Options{})
	fmt.Println(err)
	// Output:
	// release wants /.*@acme\.example/ from https://login.acme.example
	// 0 policies about registry.example/other
	// line 1: metadata: is missing
	// line 3: spec.image: unknown field (did you mean images?)
	// line 3: spec.images: is missing
	// line 3: spec.authorities: is missing
}

package registryproxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
)

// A proxy is an http.Handler before a registry. The policy and the trust root usually
// come from files (policy.Load, trust.Load), and the registry is a real one.
func ExampleNew() {
	t := new(testing.T)
	root, err := trust.Parse("private", coretest.New(t).TrustedRootJSON(t))
	if err != nil {
		panic(err)
	}
	rules, err := policy.Parse(context.Background(), []byte(`
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images:
  - glob: "registry.example/**"
  authorities:
  - keyless:
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
	registry := coretest.NewRegistry(t, true)
	coretest.Push(t, registry+"/acme/app:v1", coretest.Image(t, 1)) // and nobody signs it

	p, err := registryproxy.New(registryproxy.Config{
		Upstream:    "http://" + registry,
		LogicalName: "registry.example", // as policies call it
		Admitter:    admitter,
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(p.Handler())
	defer server.Close()

	answer, err := http.Get(server.URL + "/v2/acme/app/manifests/v1")
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	var said struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		panic(err)
	}
	fmt.Println(answer.Status, said.Errors[0].Code)
	fmt.Println(said.Errors[0].Message)
	// Output:
	// 403 Forbidden DENIED
	// registry.example/acme/app is not signed; policy release wants a signature by alice@acme.example from https://issuer.touchmark.example
}

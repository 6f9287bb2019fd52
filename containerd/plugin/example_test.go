package plugin_test

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/touchmark/touchmark/containerd/plugin"
)

// containerd asks before each pull. Here nothing can be decided, since there is no
// configuration, and so nothing is admitted; the reason is what the user sees.
func ExampleVerifier_VerifyImage() {
	ctx := context.Background()
	verifier := plugin.New(ctx, plugin.Config{File: "/nowhere/config.yaml"})
	judgement, err := verifier.VerifyImage(ctx, "registry.example/acme/app:v1", ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest,
		Digest:    digest.FromString("a manifest"),
		Size:      10,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(judgement.OK, judgement.Reason)
	// Output:
	// false touchmark cannot decide: reading configuration: open /nowhere/config.yaml: no such file or directory; "touchmark install podman" or "touchmark install containerd" writes one
}

package attach_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

// What lies beside an image, and what could not be found out.
func ExampleFind() {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/team/app")
	if err != nil {
		panic(err)
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}

	found, err := attach.Find(context.Background(), attach.Source{Repository: repository}, digest)
	var outage *attach.LookupError
	if errors.As(err, &outage) {
		fmt.Println("the registry does not say:", outage)
		return
	}
	for _, e := range found.Evidence {
		if e.Err != nil {
			fmt.Println("can't be used:", e.Where, e.Err)
			continue
		}
		fmt.Println("signed:", e.Where, e.Evidence.Form)
	}
	for _, o := range found.Other {
		fmt.Println("also there:", o.Name)
	}
	fmt.Println(len(found.Evidence), "signatures,", found.ManifestRequests, "requests for manifests")
	// Output: 0 signatures, 3 requests for manifests
}

package registryproxy

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// otherReplica tells what another proxy knows.
type otherReplica struct{ *Proxy }

func (o otherReplica) Holders(_ context.Context, repository string, digest v1.Hash) []v1.Hash {
	return o.Proxy.Holders(repository, digest)
}

// What another replica names is asked about first: this one may know the blob or platform under more manifests than it asks about,
// none of which is admitted.
func TestReplicas_HintBeforeManyHolders(t *testing.T) {
	l := newLab(t)
	base := l.putBlob("app", layerType, []byte("base layer"))
	image := func(tag string) (image, index v1.Hash) {
		config := l.putBlob("app", typeImageConfig, fmt.Appendf(nil, `{"tag":%q}`, tag))
		body := ociManifest(config, []descriptor{base}, "")
		return l.put("app", tag, typeOCIManifest, body), l.put("app", tag+"-index", typeOCIIndex, ociIndex(typeOCIManifest, sum(body), tag))
	}
	for i := range maxHolders + 1 {
		image(fmt.Sprint("old", i))
	}
	child, _ := image("child")
	for i := range maxHolders + 1 {
		l.put("app", fmt.Sprint("list", i), typeOCIIndex, ociIndex(typeOCIManifest, child, fmt.Sprint(i)))
	}
	first := l.proxy
	l.start(Config{Upstream: l.upstream.URL, LogicalName: "registry.acme.example", Admitter: l.admitter, Logger: first.logger, Now: l.clock.Now, Peers: otherReplica{first}})
	for _, path := range []string{"/v2/app/blobs/" + base.UntrustedDigest, "/v2/app/manifests/" + child.String()} {
		l.want(l.get(path), http.StatusServiceUnavailable, codeUnavailable) // a search has found too many
	}
	admitted, _ := image("new")
	index := l.put("app", "list", typeOCIIndex, ociIndex(typeOCIManifest, child, "new"))
	l.admitter.sign(admitted, index)
	for _, h := range []v1.Hash{admitted, index} { // pulled through the first
		if _, fail := first.judgedManifest(t.Context(), request{repository: "app", digest: h}); fail != nil {
			t.Fatal(fail)
		}
	}
	for _, path := range []string{"/v2/app/blobs/" + base.UntrustedDigest, "/v2/app/manifests/" + child.String()} {
		l.want(l.get(path), http.StatusOK, "")
	}
}

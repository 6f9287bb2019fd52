package gate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/policy"
)

// TestA071_OthersEvidenceDoesNotHoldUpRootsPulls: a user of the host has the agent verify costly evidence without end, of images
// in a registry of their own. What is asked with the agent's credentials is decided all the same.
func TestA071_OthersEvidenceDoesNotHoldUpRootsPulls(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := strings.ReplaceAll(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))), "\n", "\n        ")
	text := fmt.Sprintf("apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: release}\nspec:\n  images: [{glob: registry.example/**}]\n"+
		"  authorities:\n  - key:\n      data: |\n        %s\n", public)
	set, err := policy.Parse(t.Context(), []byte(text), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Policy: set})
	if err != nil {
		t.Fatal(err)
	}
	for range cap(g.turns.anonymous) {
		g.turns.anonymous <- struct{}{}
	}
	image := coretest.Push(t, strings.TrimPrefix(server.URL, "http://")+"/app:1", coretest.Image(t, 1))
	digest, err := v1.NewHash(image.DigestStr())
	if err != nil {
		t.Fatal(err)
	}
	req := Request{
		Repository: "registry.example/app", Digest: digest, ParentsKnown: true,
		Source: attach.Source{Repository: image.Context(), As: "agent"},
	}
	if v := g.Admit(t.Context(), req); v.Outcome != OutcomeRefused || v.Code != CodeUnsigned {
		t.Errorf("with credentials: %s, %s: %s", v.Outcome, v.Code, v.Reason)
	}
}

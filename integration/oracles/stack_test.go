package oracles

import (
	"context"
	"crypto/sha256"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	sgroot "github.com/sigstore/sigstore-go/pkg/root"
	sgsign "github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/services/stack"
)

// realStack is a stack that runs as "touchmark up --insecure-dev-issuer" runs it.
type realStack struct {
	url  string
	root []byte // trusted_root.json
}

// startStack starts a stack on loopback. It stops with the test.
func startStack(tb testing.TB) realStack {
	tb.Helper()
	server, err := stack.Listen(stack.ServerConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		tb.Fatal(err)
	}
	dir := filepath.Join(tb.TempDir(), "data")
	s, err := stack.New(tb.Context(), stack.Config{
		Dir: dir, PublicURL: server.URL(), Listen: "127.0.0.1:0", InsecureDevIssuer: true, CertificatesPerIdentity: -1, CertificatesTotal: -1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	server.Use(s.Handler())
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	tb.Cleanup(func() {
		stop()
		http.DefaultClient.CloseIdleConnections()
		if err := <-served; err != nil {
			tb.Error(err)
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	root, err := os.ReadFile(filepath.Join(dir, "trust", "trusted_root.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return realStack{url: server.URL(), root: root}
}

// identityToken is a token for an address, as from "touchmark token".
func (s realStack) identityToken(tb testing.TB) string {
	tb.Helper()
	text, err := token.DevIssuer{Server: s.url, Subject: "alice@acme.example"}.Token(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// referenceSigned lets sigstore-go's signer, which is what cosign 3 signs with, sign the content with this stack. It verifies what it got under the stack's trust
// root before it hands it out. The log is asked over this version of Rekor's API.
func (s realStack) referenceSigned(tb testing.TB, content sgsign.Content, keyless bool, rekorVersion uint32) (text []byte, key *sgsign.EphemeralKeypair) {
	tb.Helper()
	key, err := sgsign.NewEphemeralKeypair(nil)
	if err != nil {
		tb.Fatal(err)
	}
	root, err := sgroot.NewTrustedRootFromJSON(s.root)
	if err != nil {
		tb.Fatal(err)
	}
	opts := sgsign.BundleOptions{
		TimestampAuthorities: []*sgsign.TimestampAuthority{sgsign.NewTimestampAuthority(&sgsign.TimestampAuthorityOptions{URL: s.url + "/api/v1/timestamp"})},
		TransparencyLogs:     []sgsign.Transparency{sgsign.NewRekor(&sgsign.RekorOptions{BaseURL: s.url, Version: rekorVersion})},
		Context:              tb.Context(),
	}
	if keyless {
		opts.CertificateProvider = sgsign.NewFulcio(&sgsign.FulcioOptions{BaseURL: s.url})
		opts.CertificateProviderOptions = &sgsign.CertificateProviderOptions{IDToken: s.identityToken(tb)}
		opts.TrustedRoot = root
	}
	signed, err := sgsign.Bundle(content, key, opts)
	if err != nil {
		tb.Fatalf("sigstore-go signing with our stack: %v", err)
	}
	if text, err = protojson.Marshal(signed); err != nil {
		tb.Fatal(err)
	}
	return text, key
}

// What the reference signs with our stack, both verifiers accept; what is tampered with, ours refuses wherever sigstore-go does.
func TestLIB35_ReferenceSignsWithOurStack(t *testing.T) {
	s := startStack(t)
	artifact := []byte("manifest")
	digest := sha256.Sum256(artifact)
	statement := &sgsign.DSSEData{PayloadType: "application/vnd.in-toto+json", Data: coretest.Statement(digest, "", "")}
	var samples []sample
	for _, keyless := range []bool{true, false} {
		for name, content := range map[string]sgsign.Content{"message": &sgsign.PlainData{Data: artifact}, "dsse": statement} {
			text, key := s.referenceSigned(t, content, keyless, 1)
			one := sample{name: name + " keyless", bundle: text, root: s.root, digest: verify.SHA256(digest)}
			if !keyless {
				one.name, one.key = name+" keyed", key.GetPublicKey()
			}
			samples = append(samples, one)
		}
	}
	tamperAll(t, samples)
}

// What touchmark signs with our stack and writes into a registry, both verifiers accept from there.
func TestLIB35_ReferenceAcceptsOurSignatures(t *testing.T) {
	s := startStack(t)
	key := coretest.NewKey(t)
	root, err := trust.Parse("own", s.root)
	if err != nil {
		t.Fatal(err)
	}
	signing, err := sign.FetchSigningConfig(t.Context(), http.DefaultClient, s.url, false)
	if err != nil {
		t.Fatal(err)
	}
	var samples []sample
	for _, keyless := range []bool{true, false} {
		host := coretest.NewRegistry(t, true)
		image := coretest.Image(t, 5)
		ref := coretest.Push(t, host+"/team/app:v1", image)
		config := sign.Config{Signing: signing, Root: root, Key: key}
		one := sample{name: "keyed", root: s.root, digest: verify.SHA256(coretest.Digest(t, image)), key: key.Public()}
		if keyless {
			config.Key, config.Token = nil, token.DevIssuer{Server: s.url, Subject: "alice@acme.example"}
			one.name, one.key = "keyless", nil
		}
		source := attach.Source{Repository: ref.Context()}
		if _, err := sign.Image(t.Context(), config, ref, source, sign.Options{}); err != nil {
			t.Fatal(err)
		}
		one.bundle = findBundle(t, source, ref)
		samples = append(samples, one)
	}
	tamperAll(t, samples)
}

// findBundle reads the one Sigstore bundle beside an image.
func findBundle(tb testing.TB, source attach.Source, ref name.Digest) []byte {
	tb.Helper()
	digest, err := v1.NewHash(ref.DigestStr())
	if err != nil {
		tb.Fatal(err)
	}
	found, err := attach.Find(tb.Context(), source, digest)
	if err != nil {
		tb.Fatal(err)
	}
	var bundles [][]byte
	for _, located := range found.Evidence {
		if located.Err != nil {
			tb.Fatal(located.Err)
		}
		if located.Evidence.Form != bundle.FormBundle {
			continue
		}
		text, err := bundle.Marshal(located.Evidence)
		if err != nil {
			tb.Fatal(err)
		}
		bundles = append(bundles, text)
	}
	if len(bundles) != 1 {
		tb.Fatalf("%d bundles beside the image, want 1", len(bundles))
	}
	return bundles[0]
}

// tamperAll tampers with each sample, with all of them as donors.
func tamperAll(t *testing.T, samples []sample) {
	t.Helper()
	var donors [][]byte
	for _, s := range samples {
		donors = append(donors, s.bundle)
	}
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			tamper(t, s, donors...).report(t, s)
		})
	}
}

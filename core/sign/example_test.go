package sign_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/services/stack"
)

// Signing an image with an identity token. Each signature is checked under the trust root before it is written.
func ExampleImage() {
	ctx := context.Background()
	server, trustedRoot, stop := startStack(ctx) // as "touchmark up --insecure-dev-issuer" does
	defer stop()
	image, stop := startRegistry() // with an image in it
	defer stop()

	signing, err := sign.FetchSigningConfig(ctx, nil, server, false)
	if err != nil {
		log.Fatal(err)
	}
	root, err := trust.Parse("acme", trustedRoot)
	if err != nil {
		log.Fatal(err)
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		log.Fatal(err)
	}
	result, err := sign.Image(ctx, sign.Config{
		Signing: signing,
		Root:    root,
		Token:   token.DevIssuer{Server: server, Subject: "alice@acme.example"},
	}, ref, attach.Source{Repository: ref.Context()}, sign.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range result.Signatures {
		fmt.Println(s.Digest, "is signed by", result.Identity.Subject)
	}
	// Output:
	// sha256:732112270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa4 is signed by alice@acme.example
}

func startStack(ctx context.Context) (server string, trustedRoot []byte, stop func()) {
	dir, err := os.MkdirTemp("", "touchmark-example-")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	all, err := stack.New(ctx, stack.Config{Dir: dir, PublicURL: s.URL, InsecureDevIssuer: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/", all.Handler())
	return s.URL, all.TrustedRoot(), func() {
		s.Close()
		if err := all.Close(); err != nil {
			log.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

func startRegistry() (image string, stop func()) {
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	image = strings.TrimPrefix(s.URL, "http://") + "/app:1"
	ref, err := name.ParseReference(image)
	if err != nil {
		log.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		log.Fatal(err)
	}
	return image, s.Close
}

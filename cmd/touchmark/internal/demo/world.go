package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/services/stack"
)

// world is everything that runs in the demo.
type world struct {
	dir      string
	registry string // host:port
	sigstore string // URL
	proxy    string // host:port of the newest proxy

	policyFile, rootFile string
	root                 *trust.Root
	signing              *trust.SigningConfig
	gate                 *gate.Gate
	signed               v1.Hash // the digest that alice signed

	servers   []*http.Server
	stopStack func() error
}

func newWorld(ctx context.Context, dir string) (_ *world, err error) {
	w := &world{dir: dir, stopStack: func() error { return nil }}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	w.registry, err = w.serve(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	if err != nil {
		return nil, err
	}
	if err := w.startStack(ctx); err != nil {
		return nil, err
	}
	w.rootFile = filepath.Join(dir, "sigstore", "trust", "trusted_root.json")
	if w.root, err = trust.Load("demo", w.rootFile); err != nil {
		return nil, err
	}
	w.signing, err = trust.LoadSigningConfig(filepath.Join(dir, "sigstore", "trust", "signing_config.v0.2.json"))
	if err != nil {
		return nil, err
	}
	if w.policyFile, err = writeFile(dir, "policy.yaml", policyFor(w.registry, w.sigstore)); err != nil {
		return nil, err
	}
	return w, w.startProxy(ctx)
}

func (w *world) now() time.Time { return time.Now() }

// serve serves a handler on a free port of the loopback address.
func (w *world) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	w.servers = append(w.servers, server)
	go server.Serve(l) // returns when the server is closed
	return l.Addr().String(), nil
}

// startStack starts the private Sigstore, at its old address if it ran before.
func (w *world) startStack(ctx context.Context) error {
	addr := "127.0.0.1:0"
	if w.sigstore != "" {
		addr = w.sigstore[len("http://"):]
	}
	server, err := stack.Listen(stack.ServerConfig{Addr: addr, Logger: quiet})
	if err != nil {
		return err
	}
	w.sigstore = server.URL()
	s, err := stack.New(ctx, stack.Config{
		Dir: filepath.Join(w.dir, "sigstore"), PublicURL: w.sigstore, Listen: addr, InsecureDevIssuer: true, Logger: quiet,
	})
	if err != nil {
		return errors.Join(err, server.Close())
	}
	server.Use(s.Handler())
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- server.Serve(serving) }()
	w.stopStack = func() error {
		w.stopStack = func() error { return nil }
		stop()
		return errors.Join(<-done, s.Close())
	}
	return nil
}

// startProxy starts a proxy with a gate that has decided nothing yet.
func (w *world) startProxy(ctx context.Context) error {
	set, err := policy.Load(ctx, w.policyFile, policy.Options{})
	if err != nil {
		return err
	}
	if w.gate, err = gate.New(gate.Config{Policy: set, Roots: []*trust.Root{w.root}}); err != nil {
		return err
	}
	p, err := registryproxy.New(registryproxy.Config{Upstream: "http://" + w.registry, Admitter: w.gate, Logger: quiet})
	if err != nil {
		return err
	}
	w.proxy, err = w.serve(p.Handler())
	return err
}

func (w *world) close() {
	w.stopStack()
	for _, s := range w.servers {
		s.Close()
	}
}

func (w *world) reference(host, image string) (name.Reference, error) {
	return name.ParseReference(host + "/" + image)
}

func (w *world) source(repository string) attach.Source {
	// The name is the demo's own and parses.
	repo, _ := name.NewRepository(w.registry + "/" + repository)
	return attach.Source{Repository: repo}
}

// push builds an image that prints the message and pushes it.
func (w *world) push(ctx context.Context, image, message string) error {
	ref, err := w.reference(w.registry, image)
	if err != nil {
		return err
	}
	index, err := buildImage(message)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(ref, index, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing %s: %w", image, err)
	}
	return nil
}

// retag gives an image that is in the registry another tag.
func (w *world) retag(ctx context.Context, repository string, digest v1.Hash, tag string) error {
	ref, err := w.reference(w.registry, repository+"@"+digest.String())
	if err != nil {
		return err
	}
	desc, err := remote.Get(ref, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	return remote.Tag(ref.Context().Tag(tag), desc, remote.WithContext(ctx))
}

func (w *world) resolve(ctx context.Context, image string) (v1.Descriptor, error) {
	ref, err := w.reference(w.registry, image)
	if err != nil {
		return v1.Descriptor{}, err
	}
	desc, _, err := attach.Resolve(ctx, attach.Source{Repository: ref.Context()}, ref)
	return desc, err
}

// sign signs an image with an identity token for the address.
func (w *world) sign(ctx context.Context, image, address string) (*sign.Result, error) {
	ref, err := w.reference(w.registry, image)
	if err != nil {
		return nil, err
	}
	result, err := sign.Image(ctx, sign.Config{
		Signing: w.signing, Root: w.root, Token: token.DevIssuer{Server: w.sigstore, Subject: address},
	}, ref, attach.Source{Repository: ref.Context()}, sign.Options{})
	if err != nil {
		return nil, err
	}
	if address == alice {
		w.signed, err = v1.NewHash(result.Digest)
	}
	return result, err
}

// drain reads a layer to its end; the client verifies its digest on the way.
func drain(layer v1.Layer) error {
	r, err := layer.Compressed()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

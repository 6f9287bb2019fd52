package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/containerd/access"
	"github.com/touchmark/touchmark/containerd/kubelet"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/hostconfig"
)

// containerdClient is the name that containerd's verifier asks under.
const containerdClient = "containerd"

// containerdAccess is how this host's containerd reaches registries. Besides the
// file of our own, the credentials are looked for where kubelet and Docker keep
// theirs.
func containerdAccess(c *hostconfig.Config) *access.Access {
	files := []string{c.Containerd.Credentials, "/var/lib/kubelet/config.json"}
	if home, err := os.UserHomeDir(); err == nil { // a service may have none
		files = append(files, filepath.Join(home, ".docker", "config.json"))
	}
	return access.New(access.Config{
		Containerd: c.Containerd.Config, Hosts: c.Containerd.Hosts, Credentials: files,
		Providers: kubelet.Config{File: c.Containerd.CredentialProviders.Config, Bin: c.Containerd.CredentialProviders.Bin},
	})
}

// asContainerd decides what containerd's verifier asks the agent.
func asContainerd(c *hostconfig.Config, next gate.Admitter) func(context.Context, gate.Request, string, bool) gate.Verdict {
	registries := containerdAccess(c)
	return func(ctx context.Context, req gate.Request, physical string, withCredentials bool) gate.Verdict {
		v := registries.Admit(ctx, next, req, physical, withCredentials)
		if c.Containerd.Observe {
			return gate.Observed(v, containerdObserves)
		}
		return v
	}
}

// containerdObserves is what config.yaml calls a containerd that admits everything.
const containerdObserves = "containerd (containerd.observe in config.yaml)"

// observingClients are the clients that only observe, whatever the policies say.
func observingClients(c *hostconfig.Config) []string {
	if c.Containerd.Observe {
		return []string{containerdObserves}
	}
	return nil
}

// asClient decides about an image as this host's agent does when a client asks it,
// in this process.
func asClient(ctx context.Context, client string, f ruleFlags, image string) (gate.Verdict, error) {
	if client != containerdClient {
		return gate.Verdict{}, usageError(fmt.Errorf("--client %q is not known; want %s", client, containerdClient))
	}
	ref, err := name.NewDigest(image)
	if err != nil {
		return gate.Verdict{}, usageError(fmt.Errorf("image %q: with --client, an image is named by its digest: %w", image, err))
	}
	digest, err := v1.NewHash(ref.DigestStr())
	if err != nil {
		return gate.Verdict{}, usageError(fmt.Errorf("image %q: %w", image, err))
	}
	c, err := f.host()
	if err != nil {
		return gate.Verdict{}, err
	}
	if c == nil {
		return gate.Verdict{}, usageError(errors.New("--client goes with --config: it is this host's configuration that says what is demanded"))
	}
	g, err := f.gate(ctx)
	if err != nil {
		return gate.Verdict{}, err
	}
	finder := parents.New(parents.Config{Admitter: g, Rule: g.IndexRule})
	defer func() { _ = finder.Close() }() // nothing can go wrong there
	req := gate.Request{Repository: attach.LogicalName(ref.Context()), Digest: digest}
	return asContainerd(c, finder)(ctx, req, ref.Context().Name(), true), nil
}

// Package plugin is Touchmark's gate as an image verifier within containerd's own
// process, for those who build their own containerd (2.1 and later). Elsewhere the
// program touchmark-containerd in bin_dir does the same, with the same reasons.
//
// A containerd with it imports it for what it registers:
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"os"
//
//		"github.com/containerd/containerd/v2/cmd/containerd/command"
//
//		_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
//		_ "github.com/touchmark/touchmark/containerd/plugin"
//	)
//
//	func main() {
//		if err := command.App().Run(context.Background(), os.Args); err != nil {
//			fmt.Fprintln(os.Stderr, "containerd:", err)
//			os.Exit(1)
//		}
//	}
//
// and asks it before each pull of the transfer service, in config.toml:
//
//	required_plugins = ["io.containerd.image-verifier.v1.touchmark"]
//
//	[plugins.'io.containerd.image-verifier.v1.touchmark']
//	  config = "/etc/touchmark/config.yaml"  # the default
//	  in_process = false                     # ask the agent that config.yaml names
//
// With required_plugins, containerd does not start with the plugin disabled, or if
// somebody builds it without. There is no directory that could be missing or hold
// other files. What asks no verifier at all, such as CRI's local pulls and imports,
// does not ask this one either: see docs/containerd.md.
//
// The agent has the policies and trust roots, the memory and the record of decisions.
// With in_process there is no agent: policies and trust roots are those of the files
// that config.yaml names, which are read again when they change; nothing is recorded,
// and trust roots can't be followed by TUF. Predicates in Rego and CUE are judged by
// touchmark-predicates, a process of its own, so that neither is linked here.
//
// A configuration that can't be used is not an error at containerd's start, which would
// be without CRI then, and say why in its log alone: every image is refused, with what
// is wrong as the reason, until it is put right and containerd is restarted.
package plugin

import (
	"context"

	"github.com/containerd/containerd/v2/pkg/imageverifier"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/touchmark/touchmark/containerd/bindir"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
)

// Config is the plugin's section of config.toml.
type Config struct {
	// File is the path of config.yaml; empty is /etc/touchmark/config.yaml, which
	// need not exist if an agent answers at the default socket.
	File string `toml:"config"`
	// InProcess decides in this process, without an agent.
	InProcess bool `toml:"in_process"`
}

// Verifier is an image verifier of containerd. It may be used by many goroutines.
type Verifier struct{ host bindir.Host }

var _ imageverifier.ImageVerifier = (*Verifier)(nil)

// New makes a verifier from what config.toml says. With InProcess, files are watched
// until ctx ends. It does not fail: see the package's documentation.
func New(ctx context.Context, c Config) *Verifier {
	if !c.InProcess {
		return &Verifier{bindir.ForHost(c.File)}
	}
	j, err := newJudge(ctx, c.File)
	if err != nil {
		return &Verifier{bindir.Host{Asker: unusable{err}, Timeout: bindir.Timeout}}
	}
	return &Verifier{bindir.Host{Asker: j, Timeout: bindir.Timeout}}
}

// VerifyImage judges the image that a pull has resolved a name to, by the node's own
// credentials. It takes no longer than the program in bin_dir does. Everything that is
// not admitted is a judgement with a reason of one line; there are no errors.
func (v *Verifier) VerifyImage(ctx context.Context, name string, desc ocispec.Descriptor) (*imageverifier.Judgement, error) {
	ok, reason := bindir.Judge(ctx, v.host, name, desc.Digest.String(), desc.MediaType, desc.Size)
	return &imageverifier.Judgement{OK: ok, Reason: reason}, nil
}

// unusable is a configuration by which nothing can be decided.
type unusable struct{ err error }

// Ask gives the error as the reason.
func (u unusable) Ask(_ context.Context, q ask.Question) ask.Answer {
	return q.Undecided(string(gate.CodeInternal), u.err)
}

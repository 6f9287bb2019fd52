// Command touchmark-containerd is the image verifier for containerd's bin_dir:
// containerd runs it before it pulls an image, and it has the agent of this host
// decide. See docs/containerd.md, and containerd/bindir for the protocol.
//
// It is small, since it is started for each pull: policies, trust roots and
// signatures are the agent's business. Where there is no agent it runs "touchmark
// verify", unless config.yaml has "containerd: {standalone: false}".
//
// The configuration is /etc/touchmark/config.yaml, or what TOUCHMARK_CONFIG names
// in containerd's environment. On a host without that file the agent at the default
// socket decides.
//
// Exit status: 0 admitted, 1 not admitted, with the reason on standard output. Where
// "containerd: {observe: true}" it is always 0, with what would have been refused on
// standard error.
package main

import (
	"context"
	"os"

	"github.com/touchmark/touchmark/containerd/bindir"
)

func main() {
	os.Exit(bindir.Run(context.Background(), bindir.ForHost(os.Getenv("TOUCHMARK_CONFIG")), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

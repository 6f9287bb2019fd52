// Command daemon is containerd 2.4.2 with Touchmark's plugin, as somebody would build
// it, for the tests of integration/containerd. It is a module of its own, since
// containerd needs many that nothing else here does.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd/command"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"

	_ "github.com/touchmark/touchmark/containerd/plugin"
)

func main() {
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}

// Command containerd is a containerd of a release to come, for a test: it runs until
// its standard input ends, and says by "config dump" what the file beside it has.
package main

import (
	"io"
	"os"
	"slices"
)

func main() {
	if !slices.Contains(os.Args, "dump") {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	text, err := os.ReadFile(os.Args[0] + ".toml")
	if err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(text)
}

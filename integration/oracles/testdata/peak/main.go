// Peak runs a program and prints how much memory it had resident at most, in KiB, on its standard error. A program that a large process starts inherits that one's
// peak; this one is small.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

func main() {
	command := exec.Command(os.Args[1], os.Args[2:]...)
	command.Stdin = os.Stdin
	if out, err := command.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		os.Exit(1)
	}
	fmt.Fprint(os.Stderr, command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
}

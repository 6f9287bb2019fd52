// Command touchmark-predicates judges JSON documents with the Rego and CUE programs of policies. It isn't for people: touchmark runs it, and finds it beside
// itself or in PATH.
//
// It reads requests from standard input and answers on standard output, see core/policy/worker. It limits itself before it reads: a gigabyte of memory, ten
// seconds of processor time, and no file or socket can be opened.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	_ "time/tzdata" // no file can be opened, also not of a time zone

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/cue"
	"github.com/touchmark/touchmark/core/policy/rego"
	"github.com/touchmark/touchmark/core/policy/worker"
)

const (
	maxMemory = 1 << 30   // bytes; ends the process where the system has such a limit (Linux)
	softLimit = 768 << 20 // bytes; the garbage collector works harder from here on
	maxStack  = 256 << 20 // bytes of one goroutine; ends the process
	maxCPU    = 10        // seconds of processor time; ends the process if who asked has not
)

func main() {
	debug.SetMemoryLimit(softLimit)
	debug.SetMaxStack(maxStack)
	if err := limit(); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-predicates: limiting itself:", err)
		os.Exit(1)
	}
	err := worker.Serve(os.Stdin, os.Stdout, map[string]policy.Evaluator{"rego": rego.New(), "cue": cue.New()})
	if err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-predicates:", err)
		os.Exit(1)
	}
}

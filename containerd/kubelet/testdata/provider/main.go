// Command provider is a credential provider for tests: it answers as its first
// argument says (about an image called hang, not at all), and appends each question to the file that PROVIDER_LOG names.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	question, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	log, err := os.OpenFile(os.Getenv("PROVIDER_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(log, "%s %s\n", question, os.Getenv("PROVIDER_ENV"))
	if strings.Contains(string(question), "/hang") {
		time.Sleep(time.Hour) // a provider that hangs: the caller's deadline kills it
	}
	switch os.Args[1] {
	case "fail":
		fmt.Fprintln(os.Stderr, "no role is attached to this node")
		fmt.Println(`{"auth": {"r.example": {"password": "s3cret"}}}`)
		os.Exit(1)
	case "hang":
		time.Sleep(time.Hour) // as above
	case "flood":
		fmt.Println(strings.Repeat("s3cret", 1<<20))
	default:
		fmt.Print(os.Args[1])
	}
}

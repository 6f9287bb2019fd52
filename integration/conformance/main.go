// Command conformance speaks the client protocol of sigstore-conformance, so that Sigstore's conformance suite can drive the code that touchmark signs and
// verifies with (core/sign, core/bundle, core/verify):
//
//	conformance sign-bundle --identity-token TOKEN --bundle FILE --trusted-root FILE --signing-config FILE [--in-toto] FILE
//	conformance verify-bundle --bundle FILE --certificate-identity IDENTITY --certificate-oidc-issuer URL --trusted-root FILE FILE_OR_DIGEST
//	conformance verify-bundle --bundle FILE --key FILE --trusted-root FILE FILE_OR_DIGEST
//
// With --in-toto the file to sign is an in-toto statement. A digest is sha256:<hex>; what is a file on disk is a file. It exits with 0 if the file was signed or
// the bundle verifies, otherwise with 1 and the reason on standard error.
//
// The protocol makes --trusted-root and --signing-config optional, and means the public services when they are left out (with --staging, their staging). Here they
// are required: nothing but a file is trusted, and nothing is signed on a service that was not named.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/touchmark/touchmark/core/trust"
)

// maxFile bounds a file to sign or to verify, which is read into memory.
const maxFile = 256 << 20

// options are the flags of both subcommands.
type options struct {
	staging, inToto                   bool
	identityToken, bundle             string
	identity, issuer, key             string
	trustedRoot, signingConfig, input string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want sign-bundle or verify-bundle")
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.trustedRoot == "" {
		return errors.New("--trusted-root is missing: no other root is trusted")
	}
	root, err := trust.Load(o.trustedRoot, o.trustedRoot)
	if err != nil {
		return err
	}
	switch args[0] {
	case "sign-bundle":
		return o.sign(ctx, root)
	case "verify-bundle":
		return o.verify(root)
	}
	return fmt.Errorf("%q is not sign-bundle or verify-bundle", args[0])
}

func parse(args []string) (options, error) {
	var o options
	fl := flag.NewFlagSet(args[0], flag.ContinueOnError)
	fl.SetOutput(io.Discard)
	fl.BoolVar(&o.staging, "staging", false, "")
	fl.BoolVar(&o.inToto, "in-toto", false, "")
	fl.StringVar(&o.identityToken, "identity-token", "", "")
	fl.StringVar(&o.bundle, "bundle", "", "")
	fl.StringVar(&o.identity, "certificate-identity", "", "")
	fl.StringVar(&o.issuer, "certificate-oidc-issuer", "", "")
	fl.StringVar(&o.key, "key", "", "")
	fl.StringVar(&o.trustedRoot, "trusted-root", "", "")
	fl.StringVar(&o.signingConfig, "signing-config", "", "")
	if err := fl.Parse(args[1:]); err != nil {
		return o, err
	}
	switch {
	case fl.NArg() != 1:
		return o, fmt.Errorf("want exactly one file or digest, have %d", fl.NArg())
	case o.bundle == "":
		return o, errors.New("--bundle is missing")
	case o.staging && o.trustedRoot == "":
		return o, errors.New("--staging: the staging services' trusted root must be given with --trusted-root")
	}
	o.input = fl.Arg(0)
	return o, nil
}

// read reads a file of at most limit bytes.
func read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return content, nil
}

// Command touchmark is a private Sigstore and its enforcement at image pull, in
// one program. See "touchmark --help", and the manual under docs/.
//
// Exit status: 0 admitted or done, 1 refused by policy, 2 wrong usage, 3 could
// not decide or could not be done (a network, a service, a trust root). Scripts
// can tell a refusal from an outage.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends ctx; the next one ends the process, as it would by
	// default.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole command; tests call it in process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return console.Run(ctx, newRoot(), args, stdout, stderr)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "touchmark",
		Short: "A private Sigstore, and its enforcement where images are pulled",
		Long: `Touchmark is a self-hosted Sigstore in one process (certificate authority,
certificate log, signature log, timestamps, trust root), and enforces at the
place where images are pulled that only images signed by the right people run.

Start with "touchmark demo", which shows the whole story on this machine.

Exit status: 0 admitted or done, 1 refused by policy, 2 wrong usage,
3 could not decide (network, service, trust root).`,
		Version: version(),
	}
	root.AddCommand(
		newDemo(), newUp(), newUser(), newClient(), newToken(),
		newSign(), newAttest(), newVerify(), newExplain(), newCopy(),
		newSignBlob(), newAttestBlob(), newVerifyBlob(), newVerifyBlobAttestation(),
		newPolicy(), newAllow(), newPin(), newRevoke(),
		newGenerateKeyPair(), newImportKeyPair(), newPublicKey(),
		newProxy(), newTrust(),
		newAgent(version()), newWhy(), newReport(), newClientConfig(), newSweep(), newDoctor(),
		newInstall(), newUninstall(), newRender(),
	)
	return root
}

// newClientConfig has two halves: how clients sign, and how they pull.
func newClientConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client-config",
		Short: "Write configuration with which other clients sign, or pull through a proxy",
	}
	cmd.AddCommand(newClientConfigSkopeo())
	cmd.AddCommand(newClientConfigProxies()...)
	return cmd
}

// version is the module's version, or the commit that the program was built
// from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = ", commit " + s.Value
		}
	}
	return info.Main.Version + commit + ", " + info.GoVersion
}

// Command touchmark is a private Sigstore and its enforcement at image pull, in
// one program. See "touchmark --help", and the manual under docs/.
//
// Exit status: 0 admitted or done, 1 refused by policy, 2 wrong usage, 3 could
// not decide or could not be done (a network, a service, a trust root). Scripts
// can tell a refusal from an outage.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/agentcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/copycmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/demo"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/doctorcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/installcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keycmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/policycmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/proxycmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/signcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/stackcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/sweepcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/trustcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verifycmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends ctx; the next one ends the process, as it would by
	// default.
	context.AfterFunc(ctx, stop)
	os.Exit(console.Run(ctx, newRoot(), os.Args[1:], os.Stdout, os.Stderr))
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
		demo.New(), stackcmd.NewUp(), stackcmd.NewUser(), stackcmd.NewClient(), stackcmd.NewToken(),
		signcmd.NewSign(), signcmd.NewAttest(), verifycmd.NewVerify(), verifycmd.NewExplain(), copycmd.New(),
		signcmd.NewSignBlob(), signcmd.NewAttestBlob(), verifycmd.NewVerifyBlob(), verifycmd.NewVerifyBlobAttestation(),
		policycmd.NewPolicy(), policycmd.NewAllow(), policycmd.NewPin(), policycmd.NewRevoke(),
		keycmd.NewGenerateKeyPair(), keycmd.NewImportKeyPair(), keycmd.NewPublicKey(),
		proxycmd.New(), trustcmd.New(),
		agentcmd.New(version()), agentcmd.NewWhy(), agentcmd.NewReport(), newClientConfig(), sweepcmd.New(), doctorcmd.New(),
		installcmd.NewInstall(), installcmd.NewUninstall(), installcmd.NewRender(),
	)
	return root
}

// newClientConfig has two halves: how clients sign, and how they pull.
func newClientConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client-config",
		Short: "Write configuration with which other clients sign, or pull through a proxy",
	}
	cmd.AddCommand(signcmd.NewClientConfig())
	cmd.AddCommand(proxycmd.NewClientConfigs()...)
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

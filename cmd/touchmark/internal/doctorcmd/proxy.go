package doctorcmd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/proxycmd"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/doctor"
	proxydoctor "github.com/touchmark/touchmark/registry-proxy/doctor"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

// maxProbePassword bounds the file of --probe-password-file, in bytes: a token of an
// identity provider has some KiB.
const maxProbePassword = 64 << 10

// doctorProxyFlags are what "touchmark doctor proxy" is told.
type doctorProxyFlags struct {
	config       string
	url, metrics string
	ca           string // file
	filesOnly    bool
	network      bool
	fix          bool
	probe        proxydoctor.Probe
	password     string // file
	ignoreMatch  bool
	uid          int
	output       string
	serve        serveFlags
}

func newDoctorProxy() *cobra.Command {
	var f doctorProxyFlags
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Is this registry proxy enforcing?",
		Long: `doctor proxy looks at proxy.yaml, at every file that it names, at who could change them,
and at the running proxy: whether it answers, is ready, and goes by these files. It says
whether an image can be had from it that the policy was not asked about. docs/doctor.md
lists what it knows.

It changes nothing, unless --fix is given, which takes from others what they can read or
write and must not. --probe-unsigned and --probe-good ask the running proxy for images.

Exit status: 0 this proxy enforces, 1 it does not, 2 wrong usage, 3 can't tell.`,
		Example: `  touchmark doctor proxy --config /etc/touchmark/proxy.yaml
  touchmark doctor proxy --network --probe-unsigned docker.io/library/alpine:3 --probe-good registry.example/acme/app:1
  touchmark doctor proxy --url https://proxy.acme.example --ca acme-ca.pem
  touchmark doctor proxy --files-only --config proxy.yaml
  touchmark doctor proxy --fix
  touchmark doctor proxy -o prometheus >/var/lib/node_exporter/touchmark-proxy.prom`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "/etc/touchmark/proxy.yaml", "the proxy's configuration `file`")
	fl.StringVar(&f.url, "url", "", "`URL` of the running proxy as clients have it, in the place of where the file says that it listens")
	fl.StringVar(&f.metrics, "metrics-url", "", "`URL` of its metrics, in the place of where the file says that they are")
	fl.StringVar(&f.ca, "ca", "", "PEM `file` of a private authority that issued the certificates there, besides the system's; without it only what clients believe by themselves is believed")
	fl.BoolVar(&f.filesOnly, "files-only", false, "look at files alone: the proxy does not run on this machine")
	fl.BoolVar(&f.network, "network", false, "ask the upstream registries and the other replicas, too")
	fl.BoolVar(&f.fix, "fix", false, "put modes of files right, and examine again")
	fl.StringVar(&f.probe.Unsigned, "probe-unsigned", "", "`image` that the running proxy must refuse, as policies name it")
	fl.StringVar(&f.probe.Good, "probe-good", "", "`image` that the running proxy must admit, as policies name it")
	fl.StringVar(&f.probe.Username, "probe-user", "", "`name` to log in with at the proxy for a probe")
	fl.StringVar(&f.password, "probe-password-file", "", "`file` with the password, or ID token, for it")
	fl.BoolVar(&f.ignoreMatch, "ignore-cluster-match", false, "ignore what only has a meaning in a Kubernetes cluster, as the proxy is told to")
	fl.IntVar(&f.uid, "uid", -1, "`number` of the user that the proxy runs as, to whom its files may belong; -1 is the one who asks")
	console.OutputFlag(cmd, &f.output, "text, json or prometheus", prometheus)
	f.serve.register(cmd)
	cmd.MarkFlagsRequiredTogether("probe-user", "probe-password-file")
	return cmd
}

func (f *doctorProxyFlags) run(cmd *cobra.Command) error {
	if err := console.CheckOutput(f.output, prometheus); err != nil {
		return err
	}
	if f.filesOnly && (f.probe.Unsigned != "" || f.probe.Good != "") {
		return exit.Usage(errors.New("--files-only does not go with a probe, which asks the running proxy"))
	}
	if f.ca != "" {
		if _, err := service.Authorities(f.ca); err != nil {
			return exit.Usage(fmt.Errorf("--ca: %w", err))
		}
	}
	if f.password != "" {
		data, err := configfile.Read(f.password, maxProbePassword)
		if err != nil {
			return exit.Usage(fmt.Errorf("--probe-password-file: %w", err))
		}
		f.probe.Password = strings.TrimRight(string(data), "\r\n")
	}
	return f.serve.answer(cmd, f.output, "proxy", f.examine)
}

// examine examines, and does what else was asked for.
func (f *doctorProxyFlags) examine(cmd *cobra.Command) (*doctor.Report, error) {
	ctx := cmd.Context()
	if f.uid < 0 {
		f.uid = os.Getuid()
	}
	c := proxydoctor.Config{
		File: f.config, Now: time.Now(), Load: proxycmd.LoadPolicy(f.ignoreMatch), UID: f.uid, Live: !f.filesOnly, URL: f.url, Metrics: f.metrics, CA: f.ca,
		Network: f.network, Clock: doctor.KernelClock,
	}
	report, err := proxydoctor.Examine(ctx, c)
	if err != nil {
		return nil, err
	}
	if f.fix {
		steps, err := proxydoctor.Fix(c, report)
		printSteps(cmd, steps)
		if err != nil {
			return nil, err
		}
		if report, err = proxydoctor.Examine(ctx, c); err != nil {
			return nil, err
		}
	}
	if f.probe.Unsigned != "" || f.probe.Good != "" {
		if err := f.probe.Run(ctx, c, report); err != nil {
			return nil, err
		}
	}
	return report, nil
}

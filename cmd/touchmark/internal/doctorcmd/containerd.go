package doctorcmd

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/installcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/distribution"
	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/services/agent"
)

// doctorContainerdFlags are what "touchmark doctor containerd" is told.
type doctorContainerdFlags struct {
	root       string
	config     string // Touchmark's
	address    string
	proxies    []string
	registries []string
	proxyOnly  bool
	fix        bool
	restart    bool
	probe      bool
	image      containerddoctor.Probe
	output     string
	serve      serveFlags
}

func newDoctorContainerd() *cobra.Command {
	var f doctorContainerdFlags
	cmd := &cobra.Command{
		Use:   "containerd",
		Short: "Is this node enforcing?",
		Long: `doctor containerd looks at what containerd really does on this node: its configuration
with all imports and defaults, what the running daemon says of itself, the directory of
image verifiers, Touchmark's own files and the agent. It says whether an image can get in
that the policy was not asked about. docs/doctor.md lists what it knows.

It changes nothing, unless --fix is given, and restarts nothing, unless --restart is.
--probe has this containerd pull an image that must be refused, through CRI and through
the transfer service.

Exit status: 0 this node enforces, 1 it does not, 2 wrong usage, 3 can't tell.`,
		Example: `  touchmark doctor containerd
  touchmark doctor containerd --probe --probe-good registry.example/acme/app:1
  touchmark doctor containerd --fix --restart
  touchmark doctor containerd --listen 127.0.0.1:7469 --probe
  touchmark doctor containerd -o prometheus >/var/lib/node_exporter/touchmark-containerd.prom`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.root, "root", "", "`directory` in the place of /, such as a mounted image of a node")
	fl.StringVar(&f.config, "config", "", "Touchmark's `config.yaml`, in the place of the node's")
	fl.StringVar(&f.address, "address", "", "`socket` of containerd, in the place of the one that its configuration names")
	fl.StringArrayVar(&f.proxies, "proxy", nil, "`HOST:PORT` of a registry proxy that images are to come through; can be repeated")
	fl.StringArrayVar(&f.registries, "registry", nil, "`registry` behind the proxy, as containerd has its name; can be repeated (default: all)")
	fl.BoolVar(&f.proxyOnly, "proxy-only", false, "the proxy alone enforces: containerd asks no verifiers")
	fl.BoolVar(&f.fix, "fix", false, "close what a program can close, and examine again")
	fl.BoolVar(&f.restart, "restart", false, "with --fix: restart containerd where that is needed")
	fl.BoolVar(&f.probe, "probe", false, "pull an unsigned image that is made up, which must be refused")
	fl.StringVar(&f.image.Unsigned, "probe-unsigned", "", "`image` to probe with that must be refused, in the place of the made-up one")
	fl.StringVar(&f.image.Good, "probe-good", "", "`image` to probe with that must be admitted")
	console.OutputFlag(cmd, &f.output, "text, json or prometheus", prometheus)
	f.serve.register(cmd)
	return cmd
}

func (f *doctorContainerdFlags) run(cmd *cobra.Command) error {
	if err := console.CheckOutput(f.output, prometheus); err != nil {
		return err
	}
	return f.serve.answer(cmd, f.output, "node", f.examine)
}

// examine examines, and does what else was asked for.
func (f *doctorContainerdFlags) examine(cmd *cobra.Command) (*doctor.Report, error) {
	ctx := cmd.Context()
	c, done := f.node(ctx)
	defer func() { done() }()
	report, err := containerddoctor.Examine(ctx, c)
	if err != nil {
		return nil, err
	}
	if f.fix {
		steps, restart, err := containerddoctor.Fix(ctx, c, report, f.remedies(cmd, c))
		printSteps(cmd, steps)
		if restart {
			fmt.Fprintf(cmd.ErrOrStderr(), "to do: restart containerd (--restart), which reads its configuration only then\n")
		}
		if err != nil {
			return nil, err
		}
		done()
		// The socket, and config.yaml, may be others now.
		c, done = f.node(ctx)
		if report, err = containerddoctor.Examine(ctx, c); err != nil {
			return nil, err
		}
	}
	if f.probe || f.image.Unsigned != "" || f.image.Good != "" {
		if err := f.image.Run(ctx, c, report); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// node is what there is to examine. done closes what it opened.
func (f *doctorContainerdFlags) node(ctx context.Context) (c containerddoctor.Config, done func()) {
	host := containerd.Host{Root: f.root}
	defaults := hostconfig.System(f.root)
	file := f.config
	if file == "" {
		file = defaults.File
	}
	ours, problem := hostconfig.Load(file, defaults)
	if problem != nil {
		ours = hostconfig.New(file, defaults)
	}
	intent := containerddoctor.FromConfig(ours)
	intent.Problem = problem
	// A record that cannot be read is the installer's to complain of.
	if settings, installed, err := install.Installed(host); err == nil && installed {
		intent.BinDir, intent.Registries, intent.ProxyOnly = settings.BinDir, settings.Registries, settings.ProxyOnly
		if u, err := url.Parse(settings.Proxy); err == nil && u.Host != "" {
			intent.Proxies = []string{u.Host}
		}
	}
	intent.Proxies = append(intent.Proxies, f.proxies...)
	intent.Registries = append(intent.Registries, f.registries...)
	intent.ProxyOnly = intent.ProxyOnly || f.proxyOnly
	// k3s and its like have theirs elsewhere, which config.yaml need not know.
	if d := distribution.Detect(host); ours.Containerd.Config == defaults.Containerd && d.Config != "" && host.Path(d.Config) != defaults.Containerd {
		intent.ContainerdConfig, intent.Address = d.Config, d.Address
	}
	if f.address != "" {
		intent.Address = f.address
	} else if ours.Containerd.Socket != defaults.ContainerdSocket {
		intent.Address = ours.Containerd.Socket
	}
	c = containerddoctor.Config{Host: host, Intent: intent, Now: time.Now()}
	if problem == nil {
		c.Policies = func(ctx context.Context) (*policy.Set, error) {
			return policy.Load(ctx, ours.Policy, rules.PolicyOptions(false))
		}
	}
	if f.root != "" {
		return c, func() {}
	}
	c.Live, c.Clock = true, doctor.KernelClock
	c.Agent = agentStatus{agent.NewClient(ours.Agent.Socket)}
	daemon, err := node.Dial(ctx, c.Address())
	if err != nil {
		c.Down = err
		return c, func() {}
	}
	c.Daemon = daemon
	return c, func() { _ = daemon.Close() } // nothing is waiting to be written
}

// remedies are what the doctor leaves to others.
func (f *doctorContainerdFlags) remedies(cmd *cobra.Command, c containerddoctor.Config) containerddoctor.Remedies {
	how := containerddoctor.Remedies{Install: func(context.Context) error {
		args := []string{"--root", f.root}
		if c.Intent.NRI {
			args = append(args, "--nri")
		}
		if c.Intent.Observe {
			args = append(args, "--mode", "observe")
		}
		err := installcmd.AgainContainerd(cmd.Context(), cmd.ErrOrStderr(), args...)
		if exit.Status(err) == exit.StatusRefused {
			return nil // what is open still, the next examination says
		}
		return err
	}}
	if f.restart && f.root == "" {
		how.Restart = func(ctx context.Context) error { return installcmd.RestartContainerd(ctx, c) }
	}
	return how
}

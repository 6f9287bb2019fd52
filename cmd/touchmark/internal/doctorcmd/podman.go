// Package doctorcmd has touchmark doctor: does this host, node or proxy enforce? It gathers
// what is meant (configuration, the installers' records, flags), has podman/doctor,
// containerd/doctor or registry-proxy/doctor examine, and prints what they found, once or
// as a service for Prometheus.
package doctorcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/installcmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/podman"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/services/agent"
)

// New makes touchmark doctor.
func New() *cobra.Command {
	cmd := newDoctorPodman()
	podman := newDoctorPodman()
	cmd.Use, cmd.Example = "doctor", ""
	cmd.AddCommand(podman, newDoctorContainerd(), newDoctorProxy())
	return cmd
}

// doctorFlags are what "touchmark doctor podman" is told.
type doctorFlags struct {
	where      installcmd.Where
	scopes     []string
	transports []string
	proxies    []string
	others     bool
	network    bool
	fix        bool
	probe      bool
	image      podmandoctor.Probe
	output     string
}

func newDoctorPodman() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "podman",
		Short: "Is this host enforcing?",
		Long: `doctor podman looks at what podman, skopeo, buildah and CRI-O read on this host, at
Touchmark's own files and at the agent, and says whether an image can get in that the
policy was not asked about. docs/doctor.md lists what it knows.

It changes nothing, unless --fix is given. --probe has the host's own client pull an
image that must be refused.

Exit status: 0 this host enforces, 1 it does not, 2 wrong usage, 3 can't tell.`,
		Example: `  touchmark doctor podman
  touchmark doctor podman --probe --probe-good registry.example/acme/app:1
  touchmark doctor podman --fix
  touchmark doctor podman -o prometheus >/var/lib/node_exporter/touchmark.prom`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.where.Register(cmd)
	fl := cmd.Flags()
	fl.StringArrayVar(&f.scopes, "scope", nil, "`registry`, namespace or repository that is to be enforced, in the place of those of config.yaml; can be repeated")
	fl.StringArrayVar(&f.transports, "allow-transport", nil, "another `transport` that may accept anything, such as docker-archive; can be repeated")
	fl.StringArrayVar(&f.proxies, "proxy", nil, "`HOST:PORT` of a registry proxy that judges what comes through it; can be repeated")
	fl.BoolVar(&f.others, "others-accepted", false, "images outside of the scopes may be accepted unjudged")
	fl.BoolVar(&f.network, "network", false, "ask the registries of the scopes whether they keep signatures themselves")
	fl.BoolVar(&f.fix, "fix", false, "close what a program can close, and examine again")
	fl.BoolVar(&f.probe, "probe", false, "pull an unsigned image that is made up, which must be refused")
	fl.StringVar(&f.image.Unsigned, "probe-unsigned", "", "`image` to probe with that must be refused, in the place of the made-up one")
	fl.StringVar(&f.image.Good, "probe-good", "", "`image` to probe with that must be admitted")
	fl.StringVar(&f.image.Client, "probe-client", "", "`program` to probe with (default: skopeo, or else podman)")
	console.OutputFlag(cmd, &f.output, "text, json or prometheus", prometheus)
	return cmd
}

func (f *doctorFlags) run(cmd *cobra.Command) error {
	if err := console.CheckOutput(f.output, prometheus); err != nil {
		return err
	}
	host, defaults, err := f.where.Host()
	if err != nil {
		return err
	}
	config, intent, err := f.intent(host, defaults)
	if err != nil {
		return err
	}
	c := podmandoctor.Config{Host: host, Intent: intent, Now: time.Now(), Network: f.network}
	if host.Root == "" {
		c.Live, c.Clock, c.Environment = true, doctor.KernelClock, os.Environ()
		c.Agent = agentStatus{agent.NewClient(config.Agent.Socket)}
	}
	report, err := f.examine(cmd, c, config)
	if err != nil {
		return exit.Undecided(err)
	}
	return outcome(cmd, f.output, report, "host")
}

// prometheus is the form of a doctor's output, besides text and json, that node_exporter's textfile collector reads.
const prometheus = "prometheus"

// outcome prints what a doctor found. Its error is the exit status; what is the
// thing that was examined.
func outcome(cmd *cobra.Command, output string, report *doctor.Report, what string) error {
	if err := printFindings(cmd.OutOrStdout(), output, report); err != nil {
		return err
	}
	switch status := report.ExitStatus(); status {
	case 0:
		return nil
	case exit.StatusRefused:
		return exit.Refused(fmt.Errorf("this %s does not enforce", what))
	default:
		return exit.Undecided(fmt.Errorf("whether this %s enforces cannot be told", what))
	}
}

// examine examines, and does what else was asked for.
func (f *doctorFlags) examine(cmd *cobra.Command, c podmandoctor.Config, config *hostconfig.Config) (*doctor.Report, error) {
	ctx := cmd.Context()
	report, err := podmandoctor.Examine(ctx, c)
	if err != nil {
		return nil, err
	}
	if f.fix {
		steps, err := podmandoctor.Fix(ctx, c, report, f.remedies(cmd, c.Host, config))
		printSteps(cmd, steps)
		if err != nil {
			return nil, err
		}
		// What was not there before may be now, such as config.yaml.
		host, defaults, err := f.where.Host()
		if err != nil {
			return nil, err
		}
		if _, c.Intent, err = f.intent(host, defaults); err != nil {
			return nil, err
		}
		if report, err = podmandoctor.Examine(ctx, c); err != nil {
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

// printSteps says what was fixed.
func printSteps(cmd *cobra.Command, steps []doctor.Step) {
	for _, s := range steps {
		fmt.Fprintf(cmd.ErrOrStderr(), "fixed: %s\n", console.Printable(s.Done))
		if s.Undo != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "  undo: %s\n", console.Printable(s.Undo))
		}
	}
}

func printFindings(out io.Writer, output string, report *doctor.Report) error {
	switch output {
	case "json":
		return console.JSON(out, report)
	case prometheus:
		return report.Prometheus(out)
	}
	var text strings.Builder
	if err := report.Text(&text); err != nil {
		return err
	}
	_, err := io.WriteString(out, console.Printable(text.String()))
	return err
}

// intent is what config.yaml, the installer's record and the flags say.
func (f *doctorFlags) intent(host podman.Host, defaults hostconfig.Defaults) (*hostconfig.Config, podmandoctor.Intent, error) {
	config, problem := hostconfig.Load(defaults.File, defaults)
	if problem != nil {
		config = hostconfig.New(defaults.File, defaults)
	}
	intent := podmandoctor.FromConfig(config)
	intent.Problem = problem
	settings, installed, err := install.Installed(host)
	if err != nil {
		return nil, intent, exit.Undecided(err)
	}
	if installed {
		intent.OthersAccepted = settings.KeepDefault
		if settings.OtherTransports == install.Keep {
			intent.Transports = podmandoctor.OtherTransports()
		}
		for _, proxy := range settings.Proxies {
			if u, err := url.Parse(proxy); err == nil {
				intent.Proxies = append(intent.Proxies, u.Host)
			}
		}
		if settings.Form == install.Native {
			intent.Form, intent.Scopes = podmandoctor.Native, settings.Scopes
			if errors.Is(problem, fs.ErrNotExist) { // it needs none
				intent.Problem = nil
			}
		}
	}
	if len(f.scopes) > 0 {
		intent.Scopes = nil
		for _, s := range f.scopes {
			full, err := install.CheckScope(s)
			if err != nil {
				return nil, intent, exit.Usage(err)
			}
			intent.Scopes = append(intent.Scopes, full)
		}
	}
	intent.Transports = append(intent.Transports, f.transports...)
	intent.Proxies = append(intent.Proxies, f.proxies...)
	intent.OthersAccepted = intent.OthersAccepted || f.others
	return config, intent, nil
}

// remedies are what the doctor leaves to others.
func (f *doctorFlags) remedies(cmd *cobra.Command, host podman.Host, config *hostconfig.Config) podmandoctor.Remedies {
	how := podmandoctor.Remedies{Retire: func(ctx context.Context) error {
		return countersign.Retire(ctx, countersign.ForHost(config, keyopen.Public()))
	}}
	if _, installed, err := install.Installed(host); err == nil && installed {
		how.Install = func(context.Context) error {
			return installcmd.AgainPodman(cmd.Context(), cmd.ErrOrStderr(), f.where)
		}
	}
	return how
}

// agentStatus asks the agent for the doctor.
type agentStatus struct{ client *agent.Client }

func (a agentStatus) Status(ctx context.Context) (doctor.AgentStatus, error) {
	s, err := a.client.Status(ctx)
	if err != nil {
		return doctor.AgentStatus{}, err
	}
	out := doctor.AgentStatus{Enforcing: s.Enforcing, Observing: s.Observing, Reload: s.Policy.Error, Notices: s.Notices, UID: -1}
	for _, file := range s.Files {
		if file.Error != "" {
			out.Reload = file.Name + ": " + file.Error
		}
	}
	for _, part := range s.Parts {
		if !part.Connected {
			out.Disconnected = append(out.Disconnected, part.Name+": "+part.Error)
		}
	}
	if !s.Store.Works {
		out.Store = s.Store.Error
	}
	now := time.Now()
	for _, root := range s.Roots {
		switch {
		case !root.Until.IsZero() && root.Until.Before(now):
			out.Stale = append(out.Stale, fmt.Sprintf("the trust root %s is not used since %s: %s", root.Name, root.Until.Format(time.RFC3339), root.Error))
		case root.Error != "":
			out.Refresh = append(out.Refresh, fmt.Sprintf("the trust root %s: %s", root.Name, root.Error))
		}
	}
	return out, nil
}

package installcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/services/agent/systemd"
)

// maxVerifier bounds the program that is copied, in bytes; it has 8 MB.
const maxVerifier = 15 << 20

// installContainerdFlags are what "touchmark install containerd" is told. What is
// not said stays as it was said the last time.
type installContainerdFlags struct {
	root     string
	inputs   inputFlags
	settings install.Settings
	boot     bootFlags
	release  string
	dryRun   bool
	restart  bool
	noProbe  bool
	yes      bool
}

func newInstallContainerd() *cobra.Command {
	var f installContainerdFlags
	cmd := &cobra.Command{
		Use:   "containerd",
		Short: "Make containerd ask before it pulls an image",
		Long: `install containerd puts touchmark-containerd into containerd's directory of image
verifiers, and closes what keeps containerd, or the kubelet's way to it, from asking
them. It shows what it changes and asks before it does; without a terminal it needs
--yes. docs/containerd.md says what is written on which distribution.

Only a change of containerd's own configuration needs a restart of containerd, which is
said, and done with --restart. Containers run on meanwhile.

Where a setting cannot be overridden by a file of its own (registry.mirrors and their
like, disabled_plugins), --fix comments it out; mirrors are written to hosts.toml, where
they mean the same.

--mode observe admits every image, and records which would have been refused: touchmark
report lists them. Begin with it.

A node has to boot while neither the agent nor the network is up: the pause image is
pinned by its digest, as it is on the node now; --boot-image pins more, and
--boot-from-node all that are there, which are shown first. Whoever can confirm that
they are good says so.

At the end, an unsigned image is pulled, which must be refused. A containerd whose CRI
asks no verifiers (before 2.1) can only be put behind the proxy: --proxy.

Installing again changes what is said differently, and keeps the rest. "touchmark
uninstall containerd" puts everything back as it was.

Exit status: 0 installed, or there was nothing to do; 1 unsigned images still get in,
and why; 2 wrong usage, or not confirmed; 3 could not be done.`,
		Example: `  touchmark install containerd --policy release.yaml --trusted-root acme=trusted_root.json --mode observe
  touchmark install containerd --mode enforce --fix --restart
  touchmark install containerd --dry-run
  touchmark install containerd --proxy https://proxy.example:5443 --registry docker.io --registry quay.io`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	f.inputs.register(cmd)
	f.boot.register(cmd)
	fl.StringVar(&f.root, "root", "", "`directory` in the place of /, such as a mounted image of a node")
	fl.StringVar(&f.settings.Mode, "mode", "", "enforce (default), or observe: admit every image, and record what would be refused")
	fl.StringVar(&f.settings.BinDir, "bin-dir", "", "`directory` of image verifiers, in the place of the one that containerd's configuration has")
	fl.BoolVar(&f.settings.Copy, "copy", false, "put a copy of the program into bin_dir and not a link; always so with --root")
	fl.BoolVar(&f.settings.Fix, "fix", false, "comment out, in containerd's own files, what no other file can override")
	fl.StringVar(&f.settings.Proxy, "proxy", "", "`URL` of a registry proxy to pull through")
	fl.StringArrayVar(&f.settings.Registries, "registry", nil, "`HOST` whose images are pulled through the proxy (default: every registry without a hosts.toml); can be repeated")
	fl.BoolVar(&f.settings.NRI, "nri", false, "judge containers when they are made, too: by the agent's NRI plugin, which containerd requires from then on")
	fl.BoolVar(&f.settings.Systemd, "systemd", false, "install systemd units for the agent")
	fl.StringVar(&f.release, "containerd-version", "", "`version` of a containerd that is not running")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be changed, and change nothing")
	fl.BoolVar(&f.restart, "restart", false, "restart containerd if its configuration changed, and the agent if config.yaml did")
	fl.BoolVar(&f.noProbe, "no-probe", false, "don't pull an unsigned image at the end")
	fl.BoolVar(&f.yes, "yes", false, "change it without asking")
	return cmd
}

// AgainContainerd installs what was installed before, as it was said then and is
// said by further flags, without asking: what somebody changed since is put right.
func AgainContainerd(ctx context.Context, out io.Writer, flags ...string) error {
	cmd := newInstallContainerd()
	cmd.SetContext(ctx)
	cmd.SetOut(out)
	if err := cmd.ParseFlags(append([]string{"--yes", "--no-probe", "--fix"}, flags...)); err != nil {
		return err
	}
	return cmd.RunE(cmd, nil)
}

// target is the containerd that is meant.
type target struct {
	host         containerd.Host
	distribution distribution.Distribution
	config       *config.Config
	release      config.Release
	node         *node.Node // nil if it does not run, or is not this machine's
	down         error      // why
}

func (t *target) close() {
	if t.node != nil {
		_ = t.node.Close() // nothing is under way
	}
}

// findContainerd finds out what is there, and asks it for its version.
func (f *installContainerdFlags) findContainerd(ctx context.Context) (*target, error) {
	t := &target{host: containerd.Host{Root: f.root}}
	t.distribution = distribution.Detect(t.host)
	version := f.release
	if f.root == "" {
		address := cmp.Or(t.distribution.Address, t.host.Address())
		if c, err := config.Load(t.host, t.distribution.Config, config.Newest()); err == nil && c.Address != t.host.Address() {
			address = c.Address
		}
		if t.node, t.down = node.Dial(ctx, address); t.down == nil {
			said, _, err := t.node.Version(ctx)
			if err != nil {
				return t, exit.Undecided(err)
			}
			version = cmp.Or(f.release, said)
		}
	} else {
		t.down = errors.New("the node is not this machine")
	}
	t.release = config.Newest()
	var err error
	if version != "" {
		if t.release, err = config.ParseRelease(version); err != nil {
			return t, exit.Usage(err)
		}
	}
	if t.config, err = config.Load(t.host, t.distribution.Config, t.release); err != nil {
		return t, exit.Usage(err)
	}
	return t, nil
}

func (f *installContainerdFlags) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	t, err := f.findContainerd(ctx)
	defer t.close()
	if err != nil {
		return err
	}
	if o := t.distribution.Override; o.Kind == distribution.Nothing {
		fmt.Fprint(cmd.OutOrStdout(), install.Manual(t.distribution, f.settings.Proxy))
		return exit.Refused(fmt.Errorf("nothing was written (distribution: %s)", t.distribution.Name))
	}
	o, err := f.options(cmd, t)
	if err != nil {
		return err
	}
	plan, err := install.New(*o)
	if err != nil {
		return exit.Usage(err)
	}
	switch {
	case f.dryRun:
		show(cmd.OutOrStdout(), plan.Diff(), plan.Notes)
		return f.remaining(plan.Open)
	case plan.Empty():
		fmt.Fprintln(cmd.OutOrStdout(), "nothing to change: it is installed like this")
	default:
		notes := plan.Notes
		for _, open := range plan.Open {
			notes = append(notes, "this stays open: "+open)
		}
		if err := confirm(cmd, plan.Diff(), notes, f.yes); err != nil {
			return err
		}
		if err := plan.Apply(ctx); err != nil {
			return exit.Undecided(fmt.Errorf("%w; run it again to finish, or \"touchmark uninstall containerd\" to undo it", err))
		}
	}
	return f.finish(cmd, t, plan)
}

// finish says what is to be done now, restarts containerd if told, and probes.
func (f *installContainerdFlags) finish(cmd *cobra.Command, t *target, plan *install.Plan) error {
	out := cmd.OutOrStdout()
	switch {
	case !f.settings.Systemd:
	case f.root != "":
		fmt.Fprintf(out, "installed; for the agent:\n  systemctl --root=%s enable %s %s\n", f.root, systemd.Socket, systemd.Service)
	default:
		fmt.Fprintf(out, "installed; for the agent:\n  systemctl daemon-reload\n  systemctl enable --now %s %s\n", systemd.Socket, systemd.Service)
	}
	f.restartAgent(cmd, plan)
	if err := f.remaining(plan.Open); err != nil {
		return err
	}
	switch {
	case !plan.Restart:
		fmt.Fprintln(out, "containerd need not be restarted")
	case !f.restart || f.root != "":
		fmt.Fprintf(out, "containerd has to be restarted, for its configuration to hold: systemctl restart %s; then: touchmark doctor containerd --probe\n", cmp.Or(t.distribution.Service, "containerd.service"))
		return nil
	default:
		if err := RestartContainerd(cmd.Context(), containerddoctor.Config{Host: t.host}); err != nil {
			return exit.Undecided(err)
		}
	}
	switch {
	case f.noProbe:
		return nil
	case f.settings.Mode == install.Observe:
		fmt.Fprintln(out, "observing: nothing is refused, and nothing was probed; see later: touchmark report")
		return nil
	case t.node == nil:
		fmt.Fprintf(out, "nothing was probed: %v\n", t.down)
		return nil
	}
	return probeContainerd(cmd, t)
}

// restartAgent has an agent that runs read config.yaml, or says that it must.
func (f *installContainerdFlags) restartAgent(cmd *cobra.Command, plan *install.Plan) {
	switch {
	case !plan.Agent || f.root != "":
	case !f.restart:
		fmt.Fprintf(cmd.OutOrStdout(), "config.yaml has changed; for it to hold, an agent that runs has to be restarted: systemctl try-restart %s\n", systemd.Service)
	default:
		if said, err := exec.CommandContext(cmd.Context(), "systemctl", "try-restart", systemd.Service).CombinedOutput(); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "touchmark: warning: config.yaml has changed, for which the agent has to be restarted, and that failed (%v; %s): restart it by hand\n", err, console.Printable(cmp.Or(strings.TrimSpace(string(said)), "systemctl said nothing")))
		}
	}
}

// remaining is the error for what still lets images in.
func (f *installContainerdFlags) remaining(open []string) error {
	if len(open) == 0 {
		return nil
	}
	return exit.Refused(errors.New("images that nobody admitted still get in:\n  " + strings.Join(open, "\n  ")))
}

// options puts together what was said now, what was said the last time, and what
// lies on the node.
func (f *installContainerdFlags) options(cmd *cobra.Command, t *target) (*install.Options, error) {
	if err := f.remember(cmd, t); err != nil {
		return nil, err
	}
	o := &install.Options{Host: t.host, Settings: f.settings, Distribution: t.distribution, Release: t.release}
	if o.ProxyOnly {
		return o, nil
	}
	d := hostconfig.System(f.root)
	c, err := hostconfig.Load(d.File, d)
	if errors.Is(err, fs.ErrNotExist) {
		c, err = hostconfig.New(d.File, d), nil
	}
	if err != nil {
		return nil, exit.Usage(err)
	}
	in, set, roots, err := f.inputs.read(cmd.Context(), c)
	if err != nil {
		return nil, err
	}
	if err := startable(c, set, roots); err != nil {
		return nil, err
	}
	o.Policies, o.Roots, o.PolicyDir, o.TrustDir = in.Policies, in.Roots, c.Policy, c.Trust.Dir
	if o.Systemd {
		if o.Units, err = agentUnits(c, t.host.Within, false); err != nil {
			return nil, err
		}
	}
	if o.Boot, err = f.boot.text(cmd, t, o.PolicyDir); err != nil {
		return nil, err
	}
	return o, f.verifier(o)
}

// verifier finds the program for bin_dir.
func (f *installContainerdFlags) verifier(o *install.Options) error {
	path, err := child.Find(install.Program)
	if err != nil {
		return exit.Usage(fmt.Errorf("%w: it belongs beside touchmark", err))
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return exit.Undecided(err)
	}
	o.Verifier = path
	if o.Copy = o.Copy || f.root != ""; o.Copy {
		if o.Content, err = configfile.Read(path, maxVerifier); err != nil {
			return exit.Undecided(err)
		}
	}
	return nil
}

// remember fills in what was said the last time, and defaults.
func (f *installContainerdFlags) remember(cmd *cobra.Command, t *target) error {
	last, _, err := install.Installed(t.host)
	if err != nil {
		return exit.Undecided(err)
	}
	s, changed := &f.settings, cmd.Flags().Changed
	s.Mode = cmp.Or(s.Mode, last.Mode, install.Enforce)
	s.BinDir = cmp.Or(s.BinDir, last.BinDir)
	if !changed("proxy") {
		s.Proxy = last.Proxy
	}
	if !changed("registry") {
		s.Registries = last.Registries
	}
	for name, to := range map[string]struct{ now, then *bool }{"copy": {&s.Copy, &last.Copy}, "fix": {&s.Fix, &last.Fix}, "nri": {&s.NRI, &last.NRI}, "systemd": {&s.Systemd, &last.Systemd}} {
		if !changed(name) {
			*to.now = *to.then
		}
	}
	if s.ProxyOnly = !t.release.Verifies(); s.ProxyOnly && s.Proxy == "" {
		fmt.Fprint(cmd.OutOrStdout(), install.Manual(t.distribution, ""))
		return exit.Refused(fmt.Errorf("nothing was written: containerd %s has no image verifiers; upgrade to 2.1 or later, or run the registry proxy and say where it is with --proxy (docs/proxy.md)", t.release))
	}
	return nil
}

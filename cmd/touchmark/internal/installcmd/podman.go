// Package installcmd has the commands that set a host up and put it back as it was: install
// and uninstall, of podman's kin and of containerd, and render, which writes the manifests
// by which a cluster installs. They show what they would change, and ask. The work is done
// by podman/install and containerd/install.
package installcmd

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/services/agent/systemd"
)

// maxInput bounds a policy or trust root that is installed.
const maxInput = policy.MaxSize

// NewInstall makes touchmark install.
func NewInstall() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Write a host's configuration so that images are judged where they are pulled",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return exit.Usage(errors.New("say for which clients: touchmark install podman, or touchmark install containerd"))
		},
	}
	cmd.AddCommand(newInstallPodman(), newInstallContainerd())
	return cmd
}

// installFlags are what "touchmark install podman" is told. What is not said
// stays as it was said the last time.
type installFlags struct {
	where    Where
	inputs   inputFlags
	settings install.Settings
	proxies  []string
	native   bool
	yes      bool
}

// Where say whose configuration is meant.
type Where struct {
	user bool
	root string
}

// Register adds the flags to a command.
func (f *Where) Register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.user, "user", false, "for this user alone, with an agent of their own")
	cmd.Flags().StringVar(&f.root, "root", "", "`directory` in the place of /, such as a mounted image of a host")
}

// Host is where the clients' configuration lies.
func (f Where) Host() (podman.Host, hostconfig.Defaults, error) {
	if !f.user {
		return podman.Host{Root: f.root}, hostconfig.System(f.root), nil
	}
	if f.root != "" {
		return podman.Host{}, hostconfig.Defaults{}, exit.Usage(errors.New("--user and --root don't go together"))
	}
	d, err := hostconfig.Default(true)
	if err != nil {
		return podman.Host{}, d, exit.Usage(err)
	}
	return rules.HostFlags{User: true}.Podman(), d, nil
}

func newInstallPodman() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "podman",
		Short: "Make podman, skopeo, buildah and CRI-O ask the agent",
		Long: `install podman writes policy.json, registries.d and Touchmark's own configuration, so
that podman, skopeo, buildah and CRI-O ask "touchmark agent" about the images that the
policies are about. It shows what it changes and asks before it does; without a terminal
it needs --yes. docs/podman.md says what changes for the users of the host.

Nothing that was demanded before is demanded no longer. Images that no scope is about
are refused, unless policy.json names them or --keep-default is said. "touchmark
uninstall podman" puts everything back as it was.

Installing again changes what is said differently, and keeps the rest.

Exit status: 0 installed, or there was nothing to do; 2 wrong usage, or not confirmed;
3 could not be done.`,
		Example: `  touchmark install podman --policy release.yaml --trusted-root acme=trusted_root.json --mode observe
  touchmark install podman --mode enforce
  touchmark install podman --user --policy release.yaml --trusted-root acme=trusted_root.json --systemd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.where.Register(cmd)
	f.inputs.register(cmd)
	fl := cmd.Flags()
	fl.StringArrayVar(&f.settings.Scopes, "scope", nil, "`registry`, namespace or repository to enforce, in the place of those that the policies' globs name; can be repeated")
	fl.StringVar(&f.settings.Form, "form", "", "what the agent answers with: openpgp (default; every client reads it) or sigstore")
	fl.StringVar(&f.settings.Mode, "mode", "", "enforce (default), or observe: admit what was admitted before, and record what would be refused")
	fl.BoolVar(&f.settings.KeepDefault, "keep-default", false, "leave what policy.json says of images outside of the scopes; without it they are refused")
	fl.StringVar(&f.settings.OtherTransports, "other-transports", "", "keep or reject images from archives and directories (podman load) that policy.json has no rule of its own for; reject is the default, keep with --keep-default or observing")
	fl.StringArrayVar(&f.proxies, "proxy", nil, "`REGISTRY=URL` of a registry proxy to pull that registry's images through; can be repeated")
	fl.BoolVar(&f.native, "native", false, "no agent: compile the policies to what policy.json can express itself, or say what it can't")
	fl.BoolVar(&f.settings.Systemd, "systemd", false, "install systemd units for the agent")
	fl.StringVar(&f.settings.Listen, "listen", "", "the agent's `ADDRESS:PORT` on loopback (default: 127.0.0.1:7467, for a user a free port)")
	fl.BoolVar(&f.yes, "yes", false, "change it without asking")
	return cmd
}

// AgainPodman installs what was installed before, as it was said then, without
// asking: what somebody changed since is put right.
func AgainPodman(ctx context.Context, out io.Writer, where Where) error {
	cmd := newInstallPodman()
	cmd.SetContext(ctx)
	cmd.SetOut(out)
	f := installFlags{where: where, yes: true}
	return f.run(cmd)
}

func (f *installFlags) run(cmd *cobra.Command) error {
	host, defaults, err := f.where.Host()
	if err != nil {
		return err
	}
	o, err := f.options(cmd, host, defaults)
	if err != nil {
		return err
	}
	changes, err := install.Plan(*o)
	if err != nil {
		return exit.Usage(err)
	}
	if changes.Empty() {
		fmt.Fprintln(cmd.OutOrStdout(), "nothing to change: it is installed like this")
		return nil
	}
	if err := confirm(cmd, changes.Diff(), changes.Notes, f.yes); err != nil {
		return err
	}
	if err := changes.Apply(cmd.Context()); err != nil {
		return exit.Undecided(fmt.Errorf("%w; run it again to finish, or \"touchmark uninstall podman\" to undo it", err))
	}
	printNext(cmd, *o)
	return nil
}

// printNext says what is to be done now.
func printNext(cmd *cobra.Command, o install.Options) {
	user := ""
	if o.Host.User() {
		user = " --user"
	}
	out := cmd.OutOrStdout()
	switch {
	case o.Form == install.Native:
		fmt.Fprintln(out, "installed; podman, skopeo, buildah and CRI-O hold to it from the next pull on")
	case o.Systemd:
		fmt.Fprintf(out, "installed; now:\n  systemctl%[1]s daemon-reload\n  systemctl%[1]s enable --now %s %s\n  systemctl%[1]s try-restart %[3]s\n  touchmark doctor podman%[1]s\n", user, systemd.Socket, systemd.Service)
	default:
		fmt.Fprintf(out, "installed; while \"touchmark agent%[1]s\" does not run, nothing is pulled from the scopes.\nSee whether it enforces with: touchmark doctor podman%[1]s\n", user)
	}
}

// confirm shows what is to be done, and asks.
func confirm(cmd *cobra.Command, diff string, notes []string, yes bool) error {
	out := cmd.OutOrStdout()
	show(out, diff, notes)
	if yes {
		return nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return exit.Usage(errors.New("nothing was changed: confirm it with --yes"))
	}
	fmt.Fprint(out, "Change it? [y/N] ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || strings.ToLower(strings.TrimSpace(answer)) != "y" {
		return exit.Usage(errors.New("nothing was changed"))
	}
	return nil
}

// show shows what is to be done.
func show(out io.Writer, diff string, notes []string) {
	fmt.Fprint(out, console.Printable(diff))
	for _, note := range notes {
		fmt.Fprintf(out, "note: %s\n", console.Printable(note))
	}
}

// options puts together what was said now, what was said the last time, and what
// lies on the host.
func (f *installFlags) options(cmd *cobra.Command, host podman.Host, defaults hostconfig.Defaults) (*install.Options, error) {
	ctx := cmd.Context()
	config, err := hostconfig.Load(defaults.File, defaults)
	if errors.Is(err, fs.ErrNotExist) {
		config, err = hostconfig.New(defaults.File, defaults), nil
	}
	if err != nil {
		return nil, exit.Usage(err)
	}
	if err := f.remember(cmd, host, config); err != nil {
		return nil, err
	}
	in, set, roots, err := f.inputs.read(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := startable(config, set, roots); err != nil {
		return nil, err
	}
	o := &install.Options{Host: host, Settings: f.settings, Policies: in.Policies, Roots: in.Roots, PolicyDir: config.Policy, TrustDir: config.Trust.Dir}
	if o.Form == install.Native {
		return o, compileNative(o, set, roots)
	}
	if !o.ScopesGiven {
		if o.Scopes, err = install.Scopes(set); err != nil {
			return nil, exit.Usage(err)
		}
	}
	a, err := access.Load(host)
	if err != nil {
		return nil, exit.Undecided(err)
	}
	o.Table = a.Table()
	config.Podman.Form, config.Agent.Listen = o.Form, o.Listen
	key := countersign.ForHost(config, keyopen.Public())
	o.Public, o.KeyFiles = key.Public, []string{key.Public}
	if !keys.IsRemote(key.Key) {
		o.KeyFiles = []string{key.Key, key.Public}
	}
	o.Generate = func(ctx context.Context) error {
		_, err := countersign.Generate(ctx, key)
		return err
	}
	if o.Systemd {
		o.Units, err = agentUnits(config, host.Within, host.User())
	}
	return o, err
}

// remember fills in what was said the last time, and defaults.
func (f *installFlags) remember(cmd *cobra.Command, host podman.Host, config *hostconfig.Config) error {
	last, _, err := install.Installed(host)
	if err != nil {
		return exit.Undecided(err)
	}
	s, changed := &f.settings, cmd.Flags().Changed
	if s.ScopesGiven = changed("scope"); !s.ScopesGiven {
		s.Scopes, s.ScopesGiven = last.Scopes, last.ScopesGiven
	}
	if f.native && s.Form != "" {
		return exit.Usage(errors.New("--native has no form"))
	}
	if f.native || s.Form == "" && last.Form == install.Native && !changed("native") {
		s.Form = install.Native
	}
	if s.Form == "" && last.Form != install.Native {
		s.Form = last.Form
	}
	s.Form, s.Mode = cmp.Or(s.Form, config.Podman.Form), cmp.Or(s.Mode, last.Mode, install.Enforce)
	// A mode has its own defaults, so what followed from another one is not kept.
	sameMode := last.Mode == s.Mode
	if !changed("keep-default") && sameMode {
		s.KeepDefault = last.KeepDefault
	}
	if !changed("other-transports") && !changed("keep-default") && sameMode {
		s.OtherTransports = last.OtherTransports
	}
	if !changed("systemd") {
		s.Systemd = last.Systemd
	}
	s.Proxies = last.Proxies
	if changed("proxy") {
		s.Proxies = map[string]string{}
		for _, p := range f.proxies {
			registry, url, ok := strings.Cut(p, "=")
			if !ok {
				return exit.Usage(fmt.Errorf("--proxy %q: not REGISTRY=URL", p))
			}
			s.Proxies[registry] = url
		}
	}
	if s.Listen = cmp.Or(s.Listen, last.Listen, config.Agent.Listen); s.Listen == "" {
		s.Listen, err = freePort()
	}
	return err
}

// freePort is an address on loopback that nobody listens on now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", exit.Undecided(fmt.Errorf("choosing the agent's port: %w", err))
	}
	defer func() { _ = l.Close() }() // nothing was sent
	return l.Addr().String(), nil
}

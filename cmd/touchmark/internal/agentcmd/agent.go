// Package agentcmd has touchmark agent, which puts a host's agent together from
// services/agent and what podman's lookaside and containerd's clients need of it, and the
// commands that ask an agent: status, key, and what it decided (why, report).
package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/asagent"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/gate/reload"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
	"github.com/touchmark/touchmark/podman/lookaside"
	"github.com/touchmark/touchmark/services/agent"
	"github.com/touchmark/touchmark/services/agent/store"
)

// agentFlags are what "touchmark agent" is told.
type agentFlags struct {
	version  string // of this program
	host     rules.HostFlags
	logLevel string
}

// New makes touchmark agent. The version is that of this program, which the agent tells.
func New(version string) *cobra.Command {
	f := agentFlags{version: version}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Decide for this host, or this user, which images may be pulled",
		Long: `agent is the service that podman, skopeo, buildah, CRI-O and containerd ask before
they pull an image: one policy, one set of trust roots and one cache of verdicts for
all of them. "touchmark install podman" sets it up; docs/agent.md describes its
configuration.

It serves the lookaside on a loopback address, and further programs on a unix socket.
Policy and trust roots are read again within seconds when they change; if they can't
be, the last good ones stay in force, and "touchmark agent status" says so. Trust roots
that are followed by TUF are refreshed every hour.

Sockets that systemd hands over are used in the place of those of the configuration.
One line of JSON per decision goes to standard error.

Exit status: 0 told to stop, 2 a file is wrong (which is named, with line and field),
3 it cannot listen.`,
		Example: `  touchmark agent
  touchmark agent --user
  touchmark agent status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.host.Register(cmd)
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error; at debug, repeated admissions are logged too")
	cmd.AddCommand(newAgentStatus(), newAgentKey())
	return cmd
}

func (f agentFlags) run(cmd *cobra.Command) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return exit.Usage(fmt.Errorf("--log-level %q is not debug, info, warn or error", f.logLevel))
	}
	logger := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	c, err := f.host.Load()
	if err != nil {
		return err
	}
	return f.serve(cmd.Context(), c, logger)
}

// serve puts an agent together, and runs it until ctx ends.
func (f agentFlags) serve(ctx context.Context, c *hostconfig.Config, logger *slog.Logger) error {
	rules, err := rules.NewHostRules(c)
	if err != nil {
		return exit.Usage(err)
	}
	seen := reload.Look(c.Files())
	set, roots, err := rules.Load(ctx)
	if err != nil {
		return err
	}
	hostname, _ := os.Hostname() // a host without a name is one
	records := store.Open(ctx, store.Config{Dir: c.Agent.State, Version: f.version, Host: hostname, Changed: func(err error) { logStore(logger, err) }})
	defer func() { _ = records.Close() }() // it has said what is wrong
	g, err := gate.New(gate.Config{Policy: set, Roots: roots, Store: records})
	if err != nil {
		return exit.Usage(fmt.Errorf("%s: %w", c.Policy, err))
	}
	finder := parents.New(parents.Config{Admitter: g, Store: records, Rule: g.IndexRule})
	defer func() { _ = finder.Close() }() // nothing can go wrong there
	recorder := agent.NewRecorder(finder, records, logger)
	host := f.host.Podman()
	files := &clientFiles{host: host}
	if err := files.load(); err != nil {
		return exit.Usage(err)
	}
	mount, key, err := mountLookaside(ctx, c, host, recorder, logger)
	if err != nil {
		return exit.Usage(err)
	}
	listeners, err := listenAgent(ctx, c, f.host.User)
	if err != nil {
		return exit.Undecided(err)
	}
	a, err := agent.New(agent.Config{
		Gate: g, Set: set, Files: c.Files(), Seen: seen, Load: rules.Load, Recorder: recorder, Source: files.source, Followers: rules.Followers,
		Clients:   map[string]func(context.Context, gate.Request, string, bool) gate.Verdict{asagent.Client: asagent.Containerd(c, finder, complaints(logger))},
		Observing: asagent.Observing(c),
		Further:   furtherFiles(c, host, files), Listeners: listeners, Mounts: map[string]http.Handler{lookaside.Prefix: mount},
		Parts: nriParts(c, finder, recorder, logger),
		Store: records, Logger: logger, Version: f.version, Key: key, Peer: new(lookaside.Peers).UID, User: f.host.User,
	})
	if err != nil {
		return errors.Join(err, listeners.Close())
	}
	if err := a.Run(ctx); err != nil {
		return exit.Undecided(err)
	}
	return nil
}

// listenAgent takes what systemd hands over, and opens the rest.
func listenAgent(ctx context.Context, c *hostconfig.Config, user bool) (agent.Listeners, error) {
	inherited, err := activation.Listeners()
	if err != nil {
		return agent.Listeners{}, fmt.Errorf("taking over the service manager's sockets: %w", err)
	}
	var usable []net.Listener
	for _, l := range inherited {
		if l == nil {
			return agent.Listeners{}, errors.New("taking over the service manager's sockets: one is not a stream socket")
		}
		usable = append(usable, l)
	}
	return agent.Listen(ctx, usable, c.Agent.Socket, c.Agent.Listen, user)
}

// mountLookaside makes the lookaside, and says by which key it signs. A host without a key for it, one with containerd alone, has none, and says so to whoever asks;
// where podman's scopes are configured, that is worth a warning.
func mountLookaside(ctx context.Context, c *hostconfig.Config, host podman.Host, admitter gate.Admitter, logger *slog.Logger) (h http.Handler, fingerprint string, err error) {
	key, err := countersign.Open(ctx, countersign.ForHost(c, keyopen.Public()))
	if err == nil {
		h, err = newLookaside(c, host, admitter, key)
		return h, key.Fingerprint(), err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	level := slog.LevelInfo
	if len(c.Podman.Scopes) > 0 {
		level = slog.LevelWarn
	}
	logger.Log(ctx, level, "there is no key for countersignatures, so podman and its kin are not served; touchmark install podman makes one", "error", err)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this host has no key for countersignatures; run: touchmark install podman", http.StatusServiceUnavailable)
	}), "", nil
}

// complaints logs what the kubelet's credential providers say when they fail.
func complaints(logger *slog.Logger) func(provider, said string) {
	return func(provider, said string) {
		logger.Warn("a credential provider of the kubelet's failed", "provider", provider, "said", said)
	}
}

// furtherFiles are those that are read besides policies and trust roots. What is in config.yaml holds from a start to the next.
func furtherFiles(c *hostconfig.Config, host podman.Host, clients *clientFiles) []agent.Further {
	registries, _, _ := clients.current() // it was just read
	return []agent.Further{
		{Name: "registries.conf", Files: registries.Files(), Load: func(context.Context) error {
			_, err := access.Load(host) // the same files are read by clientFiles
			return err
		}},
		{Name: "config.yaml", Files: []string{c.File}, Load: func(context.Context) error {
			d, err := hostconfig.Default(host.User())
			if err != nil {
				return err
			}
			now, err := hostconfig.Load(c.File, d)
			if err == nil && !reflect.DeepEqual(now, c) {
				err = fmt.Errorf("%s has changed; restart the agent, for it to hold", c.File)
			}
			return err
		}},
	}
}

func logStore(logger *slog.Logger, err error) {
	if err != nil {
		logger.Error("the agent cannot remember; it decides all the same", "error", err)
		return
	}
	logger.Info("the agent can remember again")
}

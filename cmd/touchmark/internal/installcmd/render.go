package installcmd

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/containerd/kubernetes"
	"github.com/touchmark/touchmark/core/hostconfig"
)

// NewRender makes touchmark render.
func NewRender() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Write the manifests by which a cluster sets up enforcement",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newRenderKubernetes())
	return cmd
}

// renderFlags are what "touchmark render kubernetes" is told.
type renderFlags struct {
	inputs       inputFlags
	options      kubernetes.Options
	distribution string
	proxy        string
}

func newRenderKubernetes() *cobra.Command {
	var f renderFlags
	cmd := &cobra.Command{
		Use:   "kubernetes",
		Short: "Write manifests that install Touchmark on a cluster's nodes",
		Long: `render kubernetes writes to standard output the manifests of a namespace, of a ConfigMap
with the policies and trust roots, and of two DaemonSets: one installs on each node and
reports whether the node enforces, the other is the agent. It contacts nothing, and
writes no secret. docs/kubernetes.md says in which order to roll it out.

On Talos, Bottlerocket and GKE no pod can make containerd ask: what to set there, with
the registry proxy, is written in the place of manifests, and the exit status is 1.

Exit status: 0 written, 1 no pod can install on such nodes, 2 wrong usage.`,
		Example: `  touchmark render kubernetes --image registry.example/touchmark@sha256:... \
    --policy release.yaml --trusted-root acme=trusted_root.json | kubectl apply -f -
  touchmark render kubernetes --image registry.example/touchmark@sha256:... --distribution rke2 --mode enforce \
    --policy release.yaml --trusted-root acme=trusted_root.json | kubectl apply -f -
  touchmark render kubernetes --image registry.example/touchmark@sha256:... --uninstall | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	f.inputs.register(cmd)
	fl.StringVar(&f.options.Image, "image", "", "Touchmark's own `image` by its digest, with touchmark, touchmark-containerd and touchmark-predicates in PATH")
	fl.StringVar(&f.distribution, "distribution", string(distribution.Plain), "of the nodes: plain, kubeadm, eks, rke2, k3s, gke, talos or bottlerocket")
	fl.StringVar(&f.options.Namespace, "namespace", "touchmark-system", "`name` of the namespace")
	fl.StringVar(&f.options.Mode, "mode", install.Observe, "observe: admit every image, and record what would be refused; or enforce")
	fl.StringVar(&f.options.PullSecret, "pull-secret", "", "`name` of a Secret there, of the type kubernetes.io/dockerconfigjson, by which the agent reads signatures")
	fl.StringVar(&f.options.Listen, "listen", kubernetes.Listen, "`ADDRESS:PORT` on each node for /metrics and /healthz")
	fl.BoolVar(&f.options.Uninstall, "uninstall", false, "put the nodes back as they were")
	fl.StringVar(&f.proxy, "proxy", "", "`URL` of the registry proxy, for nodes on which no pod can install")
	return cmd
}

func (f *renderFlags) run(cmd *cobra.Command) error {
	d := distribution.Name(f.distribution)
	switch d {
	case distribution.Talos, distribution.Bottlerocket, distribution.GKE:
		fmt.Fprint(cmd.OutOrStdout(), install.Manual(distribution.Distribution{Name: d}, f.proxy))
		return exit.Refused(fmt.Errorf("no pod can make the containerd of %s ask", d))
	}
	if !kubernetes.Supported(d) {
		return exit.Usage(fmt.Errorf("--distribution %q is not known", f.distribution))
	}
	o := f.options
	o.Distribution = d
	if !o.Uninstall {
		// Read as on a node that has no policies and trust roots yet.
		in, _, _, err := f.inputs.read(cmd.Context(), hostconfig.New("/node/etc/touchmark/config.yaml", hostconfig.System("/node")))
		if err != nil {
			return err
		}
		o.Policies, o.Roots = files(in.Policies), files(in.Roots)
	}
	text, err := kubernetes.Render(o)
	if err != nil {
		return exit.Usage(err)
	}
	fmt.Fprint(cmd.OutOrStdout(), string(text))
	return nil
}

// files are the files of a map, by name.
func files(of map[string][]byte) []kubernetes.File {
	var out []kubernetes.File
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, kubernetes.File{Name: name, Text: of[name]})
	}
	return out
}

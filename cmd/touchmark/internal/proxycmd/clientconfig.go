package proxycmd

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/registry-proxy/clientconfig"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// clientProxyFlags say through which proxy clients pull.
type clientProxyFlags struct{ config, url, ca string }

// NewClientConfigs are the commands for clients that pull through a proxy.
func NewClientConfigs() []*cobra.Command {
	return []*cobra.Command{
		newClientConfigProxy("containerd", "Print the hosts.toml with which containerd pulls through a proxy", `
hosts.toml belongs where containerd's registry.config_path points; a restart is not needed.`, clientconfig.Proxy.Containerd),
		newClientConfigProxy("podman", "Print the registries.conf with which podman, skopeo, buildah and CRI-O pull through a proxy", `
Where the proxy countersigns, policy.json and registries.d demand its countersignature
(merge them with what is there): that needs podman 5.4. The certificate of its authority,
countersign.authority of the configuration, is printed, too: the proxy makes it when it
starts for the first time.
To sign with podman, see "touchmark client-config skopeo".`, clientconfig.Proxy.Podman),
		newClientConfigProxy("docker", "Print the daemon.json and hosts.toml with which Docker pulls through a proxy", `
Docker reads hosts.toml from 28.0 on, and only with its containerd image store, which
daemon.json switches on (merge it with what is there, and restart Docker). An older one,
or one without that store, asks the registry itself: pull by the proxy's own name there.
"registry-mirrors" would not enforce anything.`, clientconfig.Proxy.Docker),
	}
}

func newClientConfigProxy(client, short, more string, write func(clientconfig.Proxy) ([]clientconfig.File, error)) *cobra.Command {
	var f clientProxyFlags
	cmd := &cobra.Command{
		Use:   client,
		Short: short,
		Long: fmt.Sprintf(`client-config %s prints what %s needs to pull through "touchmark proxy",
each file under its path. The proxy takes the registry's place (server, location); it
is never written as a mirror, because clients ask the registry itself when a mirror
refuses. Those who push and sign talk to the registry itself.
%s

Exit status: 0 printed, 2 wrong usage.`, client, client, more),
		Example: "  touchmark client-config " + client + " --config proxy.yaml --url https://proxy.example",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd, client, write) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "`file` of the proxy's configuration (docs/proxy.md)")
	fl.StringVar(&f.url, "url", "", "`URL` by which clients reach the proxy, https://host[:port], with one of its names where the file has such")
	fl.StringVar(&f.ca, "ca", "", "`file` with the authority of the proxy's certificate, if clients' systems do not know it; it is printed, too")
	return cmd
}

func (f clientProxyFlags) run(cmd *cobra.Command, client string, write func(clientconfig.Proxy) ([]clientconfig.File, error)) error {
	switch {
	case f.config == "":
		return exit.Usage(errors.New("--config is missing: the file of the proxy's configuration"))
	case f.url == "":
		return exit.Usage(errors.New("--url is missing: how clients reach the proxy"))
	}
	c, err := config.Load(f.config)
	if err != nil {
		return exit.Usage(err)
	}
	p := clientconfig.Proxy{URL: f.url, Registries: c.Registries}
	if len(c.Names) > 0 {
		p.Names, _ = c.OwnNames()
	}
	if p.CA, err = certificates(f.ca); err != nil {
		return exit.Usage(fmt.Errorf("--ca: %w", err))
	}
	if client == "podman" { // no other demands countersignatures
		p.Countersigner, err = certificates(c.Countersign.Authority)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; the proxy makes it when it starts for the first time, or \"touchmark proxy key make\"", err)
		}
		if err != nil {
			return exit.Usage(fmt.Errorf("%s: countersign.authority: %w", f.config, err))
		}
	}
	files, err := write(p)
	if err != nil {
		return exit.Usage(err)
	}
	for i, file := range files {
		if i > 0 {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		fmt.Fprintf(cmd.OutOrStdout(), "# %s\n%s", file.Path, file.Content)
	}
	return nil
}

// maxCertificates bounds a file of certificates, in bytes; one of an authority has 1 KiB.
const maxCertificates = 1 << 20

// certificates reads them from a file, if there is one.
func certificates(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	text, err := userfile.ReadFile(file, maxCertificates)
	if err != nil {
		return nil, err
	}
	all, err := clientconfig.Certificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return all, nil
}

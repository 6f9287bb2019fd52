package countersign

import (
	"path/filepath"

	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/keys"
)

// ForHost is a host's key as its configuration names it. The file with the public halves lies in the folder podman beside config.yaml:
// countersign.gpg for form [OpenPGP], host-ca.pem for [Sigstore]. Everybody must be able to read it, since every user's client does.
func ForHost(c *hostconfig.Config, options keys.Options) Config {
	form, name := OpenPGP, "countersign.gpg"
	if c.Podman.Form == hostconfig.Sigstore {
		form, name = Sigstore, "host-ca.pem"
	}
	return Config{Form: form, Key: c.Podman.Key, Public: filepath.Join(filepath.Dir(c.File), "podman", name), Validity: c.Podman.Validity, Keys: options}
}

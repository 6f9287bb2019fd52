package countersign

import (
	"path/filepath"

	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/keys"
)

// The files with public halves, in the folder podman beside config.yaml.
const (
	keyring   = "countersign.gpg" // for form [OpenPGP]
	authority = "host-ca.pem"     // for form [Sigstore]
)

// ForHost is a host's key as its configuration names it. Everybody must be able to read the file with the public halves, since every user's client does.
func ForHost(c *hostconfig.Config, options keys.Options) Config {
	form, name := OpenPGP, keyring
	if c.Podman.Form == hostconfig.Sigstore {
		form, name = Sigstore, authority
	}
	return Config{Form: form, Key: c.Podman.Key, Public: filepath.Join(filepath.Dir(c.File), "podman", name), Validity: c.Podman.Validity, Keys: options}
}

// PublicFiles are where the public halves may lie, of a host or a user with this directory of Touchmark's configuration.
func PublicFiles(touchmark string) []string {
	return []string{filepath.Join(touchmark, "podman", keyring), filepath.Join(touchmark, "podman", authority)}
}

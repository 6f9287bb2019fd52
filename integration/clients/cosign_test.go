package clients

import (
	"slices"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// cosign is one version of cosign, with what differs between the two.
type cosign struct {
	client
	// bundle and legacy are the flags with which it makes and reads the two forms.
	signBundle, signLegacy, verifyBundle, verifyLegacy []string
}

func cosigns(t *testing.T) []cosign {
	t.Helper()
	program := func(version string) client {
		return client{
			Command: lab.Command{Program: lab.Tool(t, "cosign-v"+version), Env: []string{"COSIGN_PASSWORD=" + password}},
			name:    "cosign " + version, shown: "cosign",
		}
	}
	return []cosign{
		{
			client:       program("3.1.3"),
			signLegacy:   []string{"--new-bundle-format=false", "--use-signing-config=false"},
			verifyLegacy: []string{"--new-bundle-format=false"},
		},
		{
			client:       program("2.6.5"),
			signBundle:   []string{"--new-bundle-format"},
			verifyBundle: []string{"--new-bundle-format"},
		},
	}
}

// mode is a form of signature and a kind of signer.
type mode struct {
	legacy, key bool
}

var modes = []mode{{false, false}, {false, true}, {true, false}, {true, true}}

func (m mode) String() string {
	return map[bool]string{false: "keyless", true: "with a key"}[m.key] + ", " + map[bool]string{false: "bundle", true: "legacy"}[m.legacy]
}

// short names a mode in repositories and files.
func (m mode) short() string {
	return map[bool]string{false: "keyless", true: "key"}[m.key] + map[bool]string{false: "", true: "-legacy"}[m.legacy]
}

// keyPair is the key of all who sign with one. cosign made it.
func (w *world) keyPair(t *testing.T, c cosign) {
	t.Helper()
	c.Dir = w.Dir
	w.does(t, c.client, "makes a key pair", nil, "generate-key-pair")
}

// sign are the arguments of a command that signs: the services, the trust root, and who signs.
func (w *world) sign(t *testing.T, c cosign, m mode, as string) []string {
	t.Helper()
	var args []string
	switch {
	case !m.legacy:
		args = append(slices.Clone(c.signBundle), "--signing-config", w.Signing)
	case m.key:
		args = append(slices.Clone(c.signLegacy), "--rekor-url", w.Stack.URL)
	default:
		args = append(slices.Clone(c.signLegacy), "--fulcio-url", w.Stack.URL, "--rekor-url", w.Stack.URL)
	}
	args = append(args, "--trusted-root", w.Root)
	if m.key {
		return append(args, "--key", w.path("cosign.key"))
	}
	return append(args, "--identity-token", w.token(t, as))
}

// form are the flags with which it reads signatures of the form.
func (c cosign) form(m mode) []string {
	if m.legacy {
		return c.verifyLegacy
	}
	return c.verifyBundle
}

// signer are the arguments that say who must have signed.
func (w *world) signer(m mode, who string) []string {
	if m.key {
		return []string{"--key", w.path("cosign.pub")}
	}
	return []string{"--certificate-identity", who, "--certificate-oidc-issuer", w.Stack.URL}
}

// stranger is somebody else: another identity, or another key.
func (w *world) stranger(m mode) []string {
	if m.key {
		return []string{"--key", w.path("other.pub")}
	}
	return w.signer(m, bob)
}

// reason is what both cosigns say of a signature by one where another is wanted.
func (m mode) reason(by, want string) string {
	switch m {
	case mode{key: true}:
		return "transparency log certificate does not match"
	case mode{key: true, legacy: true}:
		return "comparing public key PEMs"
	case mode{legacy: true}:
		return "none of the expected identities matched what was in the certificate, got subjects [" + by + "]"
	}
	return `expected SAN value "` + want + `", got "` + by + `"`
}

// args joins arguments.
func args(parts ...[]string) []string { return slices.Concat(parts...) }

// Package countersign is the key of a host, with which its agent tells containers/image that an image is admitted.
//
// policy.json can't ask a program about an image; it can demand a signature. So the generated policy.json demands one of this
// host's own key, and the agent makes one, a countersignature, for each image that Touchmark's policy admits (podman/lookaside). It
// says one thing: "the agent of this host admitted the image with this digest, under this repository's name". It is bound to both,
// and expires at most [MaxValidity] after it was made, so that one that somebody kept is worthless soon after the policy changed.
//
// The registry proxy makes the same for clients that pull through it ([Key.Attach], registry-proxy), with an authority of its own.
//
//	c := countersign.Config{Key: "/etc/touchmark/podman/countersign.key", Public: "/etc/touchmark/podman/countersign.gpg"}
//	made, err := countersign.Generate(ctx, c) // once, when the host is set up
//	key, err := countersign.Open(ctx, c)      // in the agent
//	blob, err := key.Countersign("registry.example/acme/app", "sha256:...", time.Now())
//
// # Forms
//
// [OpenPGP], the default, is containers/image's "atomic container signature" (containers-signature(5)): a message signed with an RSA key that
// carries its own expiry. Every podman and skopeo reads it, those without any Sigstore support too. policy.json names
// [Config.Public], a keyring: {"type": "signedBy", "keyType": "GPGKeys", "keyPath": ..., "signedIdentity": {"type": "matchRepository"}}.
//
// [Sigstore] is the signature that cosign 2 writes, by a key made for this one signature, with a certificate of the host's own authority that is
// valid as long as the countersignature. It needs containers/image 5.34 or later (podman 5.4). policy.json names
// [Config.Public], PEM certificates: {"type": "sigstoreSigned", "pki": {"caRootsPath": ..., "subjectEmail": [Subject]}, ...}.
//
// # Keys
//
// [Config.Key] is a file that nobody but its owner can read (PEM, PKCS#8), or a reference to a KMS or a PKCS#11 token (core/keys). For OpenPGP it must be
// RSA; for Sigstore, where it is the authority's, whatever core/keys allows. [Config.Public] holds its public half, and for a while after [Rotate] the
// previous ones: clients accept signatures by any of them. The OpenPGP fingerprint depends on the key alone, so
// that the keyring can be made again from it at any time.
//
// A key in a service is asked once for each countersignature that is made; see [Key.Countersign] for how often that is.
package countersign

import (
	"context"
	"crypto"
	"fmt"
	"os"
	"time"

	"github.com/touchmark/touchmark/core/keys"
)

// Form is a kind of signature.
type Form string

// The forms that containers/image reads from a lookaside.
const (
	OpenPGP  Form = "openpgp"
	Sigstore Form = "sigstore"
)

// Validity of countersignatures. MaxValidity is the promise of how long a verdict that was withdrawn lives on. Below minValidity, clients
// with a slow registry would meet expired ones.
const (
	MaxValidity = 10 * time.Minute
	minValidity = time.Minute
)

// Config says where a host's key is.
type Config struct {
	Form Form // empty is [OpenPGP]
	// Key is the private key: a file, or a reference that core/keys opens.
	Key string
	// Public is the file with the public halves, which policy.json names: an OpenPGP keyring, or PEM certificates.
	Public string
	// Host is what the key is called for people who look at it; may be empty.
	Host string
	// Validity is how long a countersignature is good, from one minute to [MaxValidity], which is the default.
	Validity time.Duration
	// Keys says how keys in services and on tokens are opened.
	Keys keys.Options
	// Now is the clock, time.Now if nil; only certificates of new authorities depend on it.
	Now func() time.Time
}

// Key makes countersignatures. It may be used by many goroutines.
type Key struct {
	form     Form
	validity time.Duration
	signer   crypto.Signer
	public   entry // the signer's own entry in the file with the public halves
	cache    *cache
}

// Open opens the key for signing. It is an error if the key file can be read by others or belongs to somebody else, and if
// [Config.Public] doesn't hold the key's public half: no client would accept what it signs.
func Open(ctx context.Context, c Config) (*Key, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	signer, err := c.openKey(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	entries, err := c.readPublic()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.is(signer.Public()) {
			return &Key{form: c.Form, validity: c.Validity, signer: signer, public: e, cache: newCache()}, nil
		}
	}
	return nil, fmt.Errorf("reading %s: it does not hold the public half of %s, so no client would accept its signatures: run \"touchmark install podman\", or for a proxy \"touchmark proxy key make\"",
		c.Public, keys.Redact(c.Key))
}

// Fingerprint names the key as [Fingerprints] does.
func (k *Key) Fingerprint() string { return k.public.name }

// checked fills in defaults.
func (c Config) checked() (Config, error) {
	if c.Form == "" {
		c.Form = OpenPGP
	}
	if c.Validity == 0 {
		c.Validity = MaxValidity
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Host == "" {
		c.Host, _ = os.Hostname() // a name for people; without one there is none
	}
	switch {
	case c.Form != OpenPGP && c.Form != Sigstore:
		return c, fmt.Errorf("form of countersignatures: %q is unknown, want %q or %q", c.Form, OpenPGP, Sigstore)
	case c.Validity < minValidity || c.Validity > MaxValidity:
		return c, fmt.Errorf("validity of countersignatures: %v is not between %v and %v", c.Validity, minValidity, MaxValidity)
	case c.Key == "" || c.Public == "":
		return c, fmt.Errorf("countersigning key: the key %q and the file with its public half %q must both be named", keys.Redact(c.Key), c.Public)
	}
	return c, nil
}

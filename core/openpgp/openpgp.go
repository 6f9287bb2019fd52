// Package openpgp verifies simple-signing signatures made with OpenPGP, the
// form in which Red Hat's images are signed and which containers/image calls
// an "atomic container signature" (containers-signature(5)).
//
// Such a signature is a signed message whose text names a repository and a
// manifest's digest. It carries no log entry and no certificate: who holds one
// of the keys can sign at any time, and nothing tells a theft. [Verify] answers
// in core/verify's terms.
package openpgp

import (
	"bytes"
	_ "crypto/sha256" // for message digests
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/verify"
)

// maxKeys bounds a keyring.
const maxKeys = 100

// signatureType is the payload type of containers/image's own signatures.
const signatureType = "atomic container signature"

// ReadKeyring reads public keys, ASCII-armoured or binary. Secret keys and an
// empty keyring are errors.
func ReadKeyring(data []byte) (pgp.EntityList, error) {
	read := pgp.ReadKeyRing
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN PGP")) {
		read = pgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading OpenPGP keys: %w", err)
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("reading OpenPGP keys: there are %d, want 1 to %d", len(keys), maxKeys)
	}
	for _, k := range keys {
		if k.PrivateKey != nil {
			return nil, errors.New("reading OpenPGP keys: one is a secret key, want public keys")
		}
	}
	return keys, nil
}

// payload is what is signed.
type payload struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional jsontext.Value `json:"optional"`
}

// Verify checks that the evidence is a signature by one of the keys, over an
// image of this repository (its logical name) and digest. Signer is how the
// keys are named in verdicts. now decides whether key and signature are
// expired; a signature made before notBefore, if that is set, is too old. When
// it was made is the signer's own word, which no authority confirms: the result
// has no times. An error is a [*verify.Error], or one that wraps [verify.ErrInput]
// if the keyring cannot be read.
func Verify(untrusted *bundle.Evidence, repository, digest string, keyring []byte, signer string, now, notBefore time.Time) (*verify.Result, error) {
	keys, err := ReadKeyring(keyring)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", verify.ErrInput, err)
	}
	if untrusted.Form != bundle.FormOpenPGP || untrusted.Payload == nil {
		return nil, refuse(verify.CodeWrongSignerKind, "it is no OpenPGP signature")
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	plain, err := unpack(untrusted.Payload.Text)
	if err != nil {
		return nil, refuse(verify.CodeMalformed, "reading OpenPGP message: %w", err)
	}
	message, err := pgp.ReadMessage(bytes.NewReader(plain), keys, nil, config)
	if err != nil {
		return nil, refuse(verify.CodeMalformed, "reading OpenPGP message: %w", err)
	}
	if !message.IsSigned || message.IsEncrypted {
		return nil, refuse(verify.CodeMalformed, "the OpenPGP message is not plainly signed")
	}
	// The text may not be looked at before it was read to its end, which is when
	// the signature is checked.
	text, err := io.ReadAll(io.LimitReader(message.UnverifiedBody, bundle.MaxSize))
	switch {
	case err != nil:
		return nil, refuse(verify.CodeSignature, "reading OpenPGP message: %w", err)
	case message.SignedBy == nil:
		return nil, refuse(verify.CodeKey, "it was made by the key %016X, which is none of the %d expected", message.SignedByKeyId, len(keys))
	case message.SignatureError != nil:
		return nil, refuse(verify.CodeSignature, "%w", message.SignatureError)
	case message.Signature == nil:
		return nil, refuse(verify.CodeSignature, "the OpenPGP message ends before its signature")
	}
	if made := message.Signature.CreationTime; made.Before(notBefore) {
		return nil, refuse(verify.CodeTooOld, "it says that it was made at %s, wanted is not before %s", made.UTC().Format(time.RFC3339), notBefore.UTC().Format(time.RFC3339))
	}
	if err := checkPayload(text, repository, digest); err != nil {
		return nil, err
	}
	key := message.SignedBy.Entity.PrimaryKey
	return &verify.Result{
		Signer: verify.Signer{Key: fmt.Sprintf("%s (%X)", signer, key.Fingerprint)},
		Key:    standardKey(key.PublicKey),
		Checks: []verify.Check{{Name: "OpenPGP signature", Passed: true, Value: fmt.Sprintf("by %X", key.Fingerprint)}, {Name: "artifact digest", Passed: true, Value: digest}},
	}, nil
}

// checkPayload holds the signed text against the image. The repository counts,
// not the tag: most clients never tell it.
func checkPayload(text []byte, repository, digest string) error {
	var p payload
	if err := json.Unmarshal(text, &p, json.RejectUnknownMembers(true)); err != nil {
		return refuse(verify.CodeMalformed, "simple signing payload: %w", err)
	}
	if p.Critical.Type != signatureType {
		return refuse(verify.CodeMalformed, "simple signing payload: critical.type is %q, want %q", p.Critical.Type, signatureType)
	}
	if got := p.Critical.Image.DockerManifestDigest; got != digest {
		return refuse(verify.CodeWrongArtifact, "it is about %q, not %s", got, digest)
	}
	ref, err := name.ParseReference(p.Critical.Identity.DockerReference)
	if err != nil {
		return refuse(verify.CodeMalformed, "simple signing payload: critical.identity.docker-reference: %w", err)
	}
	if signed := attach.LogicalName(ref.Context()); signed != repository {
		return refuse(verify.CodeWrongArtifact, "it is about the repository %s, not %s", signed, repository)
	}
	return nil
}

func refuse(code verify.Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &verify.Error{
		Code: code, Check: "OpenPGP signature", Err: err,
		Checks: []verify.Check{{Name: "OpenPGP signature", Value: err.Error()}},
	}
}

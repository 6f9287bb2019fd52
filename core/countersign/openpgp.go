package countersign

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/touchmark/touchmark/core/openpgp"
)

// created is when every host's OpenPGP key says it was made. The fingerprint is computed over it: with the same time in every key, it depends on
// the key alone, and the keyring can be made again. It lies in the past of every host, since no client accepts a key from the future.
var created = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// atomicType is the payload type of containers/image's own signatures.
const atomicType = "atomic container signature"

// pgpConfig is how signatures are made: as the oldest client reads them, and the same for the same input.
func pgpConfig(now time.Time) *packet.Config {
	return &packet.Config{
		DefaultHash: crypto.SHA256, Time: func() time.Time { return now },
		NonDeterministicSignaturesViaNotation: packet.BoolPointer(false),
	}
}

// rsaKey is a signing key in OpenPGP's terms.
func rsaKey(signer crypto.Signer) (*packet.PrivateKey, error) {
	pub, ok := signer.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("countersigning key: it is %T, and form %q needs RSA, which every client reads: name another key, or take the file away and run touchmark install podman for a new one", signer.Public(), OpenPGP)
	}
	return &packet.PrivateKey{PublicKey: *packet.NewRSAPublicKey(created, pub), PrivateKey: signer}, nil
}

// newPGPPublic makes the OpenPGP public key of a signer, certified by itself.
func newPGPPublic(signer crypto.Signer, host string) ([]byte, error) {
	failing := &remember{Signer: signer}
	key, err := rsaKey(failing)
	if err != nil {
		return nil, err
	}
	id := packet.NewUserId("Touchmark on "+hostName(host), "", "")
	primary := true
	self := &packet.Signature{
		Version: 4, SigType: packet.SigTypePositiveCert, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA256, CreationTime: created, IssuerKeyId: &key.KeyId,
		IssuerFingerprint: key.Fingerprint, FlagsValid: true, FlagSign: true, FlagCertify: true, IsPrimaryId: &primary, PreferredHash: []uint8{8}, // SHA-256
	}
	if err := errors.Join(self.SignUserId(id.Id, &key.PublicKey, key, pgpConfig(created)), failing.err); err != nil {
		return nil, fmt.Errorf("making OpenPGP key: %w", err)
	}
	var out bytes.Buffer
	for _, p := range []interface{ Serialize(io.Writer) error }{&key.PublicKey, id, self} {
		if err := p.Serialize(&out); err != nil {
			return nil, fmt.Errorf("making OpenPGP key: %w", err)
		}
	}
	return out.Bytes(), nil
}

// hostName is a host's name as a user ID may hold it.
func hostName(host string) string {
	name := bytes.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '(' || r == ')' || r == '<' || r == '>' {
			return -1
		}
		return r
	}, []byte(host))
	if len(name) == 0 {
		return "this host"
	}
	return string(name[:min(len(name), 255)])
}

// parsePGPPublic reads a keyring.
func parsePGPPublic(data []byte) ([]entry, error) {
	ring, err := openpgp.ReadKeyring(data)
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, e := range ring {
		raw, err := serialized(e)
		if err != nil {
			return nil, err
		}
		out = append(out, entry{raw: raw, key: e.PrimaryKey.PublicKey, name: fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)})
	}
	return out, nil
}

func serialized(e *pgp.Entity) ([]byte, error) {
	var raw bytes.Buffer
	if err := e.Serialize(&raw); err != nil {
		return nil, fmt.Errorf("writing OpenPGP key: %w", err)
	}
	return raw.Bytes(), nil
}

// OpenPGP makes one countersignature in the form of the same name: the whole blob that a lookaside serves.
func (k *Key) OpenPGP(repository, digest string, now time.Time) ([]byte, error) {
	text, err := payload(atomicType, repository, digest, now)
	if err != nil {
		return nil, err
	}
	failing := &remember{Signer: k.signer}
	key, err := rsaKey(failing)
	if err != nil {
		return nil, err
	}
	now = now.Truncate(time.Second) // OpenPGP has no finer time, and clients refuse what is made in the future
	lifetime := uint32(k.validity / time.Second)
	config := pgpConfig(now)
	var out bytes.Buffer
	onePass := &packet.OnePassSignature{Version: 3, SigType: packet.SigTypeBinary, Hash: crypto.SHA256, PubKeyAlgo: key.PubKeyAlgo, KeyId: key.KeyId, IsLast: true}
	if err := onePass.Serialize(&out); err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	if err := writeLiteral(&out, text, now); err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	sig := &packet.Signature{
		Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA256, CreationTime: now, SigLifetimeSecs: &lifetime,
		IssuerKeyId: &key.KeyId, IssuerFingerprint: key.Fingerprint,
	}
	hash := crypto.SHA256.New()
	hash.Write(text)
	if err := errors.Join(sig.Sign(hash, key, config), failing.err); err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	if err := sig.Serialize(&out); err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	return out.Bytes(), nil
}

func writeLiteral(out *bytes.Buffer, text []byte, now time.Time) error {
	w, err := packet.SerializeLiteral(nopCloser{out}, true, "", uint32(now.Unix()))
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return w.Close()
}

// nopCloser lets a packet's writer close what is written to afterwards.
type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// remember keeps the error of a signer, which the OpenPGP library loses.
type remember struct {
	crypto.Signer
	err error
}

func (r *remember) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := r.Signer.Sign(rand, digest, opts)
	r.err = err
	return sig, err
}

package worker

import (
	"bufio"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/keys"
)

// Backend is a kind of service or device that keeps keys. See core/keys/kms and core/keys/pkcs11.
type Backend interface {
	// Public returns a key's public half.
	Public(ctx context.Context, ref string, pin []byte) (crypto.PublicKey, error)
	// Open returns a signer of digests, for use until ctx is done. An error that is a [NeedsPIN] asks for a PIN.
	Open(ctx context.Context, ref string, pin []byte) (crypto.Signer, error)
	// Create makes a key.
	Create(ctx context.Context, ref string) (crypto.PublicKey, error)
}

// NeedsPIN is the error of a [Backend] that can't go on without a PIN. It is the token's name for people.
type NeedsPIN string

func (n NeedsPIN) Error() string { return string(n) + " needs a PIN" }

// Serve reads requests and answers them, one after the other, until in ends. The backends are found by how a reference begins ("awskms://").
// Its error is about the messages; what is wrong with a key is in the answer.
func Serve(ctx context.Context, in io.Reader, out io.Writer, backends map[string]Backend) error {
	r := bufio.NewReaderSize(in, maxMessage)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading request: %w", err)
		}
		var req request
		if err := json.Unmarshal(line, &req, json.RejectUnknownMembers(true)); err != nil {
			return errors.New("reading request: it is not understood") // without its text, in which a PIN may be
		}
		if req.Protocol != protocol {
			return fmt.Errorf("reading request: protocol %d, this program speaks %d: install programs of one version", req.Protocol, protocol)
		}
		line, err = json.Marshal(handle(ctx, req, backends))
		if err != nil {
			return fmt.Errorf("writing answer: %w", err)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("writing answer: %w", err)
		}
	}
}

func handle(ctx context.Context, req request, backends map[string]Backend) answer {
	a, err := do(ctx, req, backends)
	if need := NeedsPIN(""); errors.As(err, &need) {
		return answer{NeedsPIN: string(need)}
	}
	if err != nil {
		return answer{Error: readable(err, req.PIN)}
	}
	return a
}

func do(ctx context.Context, req request, backends map[string]Backend) (answer, error) {
	backend, err := find(req.Ref, backends)
	if err != nil {
		return answer{}, err
	}
	var pub crypto.PublicKey
	switch req.Operation {
	case opPublic:
		pub, err = backend.Public(ctx, req.Ref, req.PIN)
	case opCreate:
		pub, err = backend.Create(ctx, req.Ref)
	case opOpen, opSign:
		var key crypto.Signer
		if key, err = backend.Open(ctx, req.Ref, req.PIN); err != nil {
			return answer{}, err
		}
		if req.Operation == opSign {
			signature, err := key.Sign(nil, req.Digest, crypto.Hash(req.Hash))
			return answer{Signature: signature}, err
		}
		pub = key.Public()
	default:
		return answer{}, fmt.Errorf("operation %.40q is not known", req.Operation)
	}
	if err != nil {
		return answer{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	return answer{PublicKey: der}, err
}

func find(ref string, backends map[string]Backend) (Backend, error) {
	for prefix, b := range backends {
		if strings.HasPrefix(ref, prefix) {
			return b, nil
		}
	}
	return nil, fmt.Errorf("keys of this kind are not built into this program: %s", keys.Redact(ref))
}

// readable is an error's text as JSON can carry it, in a length that an answer has room for, and without a PIN that a library may have put into it.
func readable(err error, pin []byte) string {
	const most = 4 << 10
	text := err.Error()
	if len(pin) > 0 {
		text = strings.ReplaceAll(text, string(pin), "...")
	}
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

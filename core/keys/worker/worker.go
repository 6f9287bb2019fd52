// Package worker uses keys in cloud services and on PKCS#11 tokens, through a program of its own, touchmark-keys.
//
//	path, err := child.Find(worker.Name)
//	options.Remote = &worker.Client{Program: path, Env: os.Environ(), PIN: askForPIN}
//	signer, err := keys.Open(ctx, "awskms:///alias/release", options)
//
// The clouds' libraries and cgo would cost every start of every program; here they cost those that use such keys. Each request is one process, which
// ends with its answer, so that a token's session never outlives a signature. A program that is missing, dies, or answers what isn't understood is an error that
// names it.
//
// Every signature is verified with the key's public half before anybody gets it: a key that was rotated in between, or signs otherwise than Sigstore's readers
// expect (PSS), is an error here and not a surprise for whoever verifies.
//
// The protocol: a line of JSON with what is asked, and a line of JSON with the answer. [Serve] is the program's side of it.
package worker

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/keys"
)

// Name is the program's name, for [child.Find].
const Name = "touchmark-keys"

// TimeLimit ends a request. Clouds answer within a second, but logging in to one can take several requests, and some tokens wait for a touch.
const TimeLimit = 60 * time.Second

// maxMessage bounds requests and answers, in bytes: a reference, and a key or a signature.
const maxMessage = 64 << 10

// protocol is the version of the messages.
const protocol = 1

// request asks for one thing.
type request struct {
	Protocol  int    `json:"protocol"`
	Operation string `json:"operation"`
	Ref       string `json:"ref"`
	PIN       []byte `json:"pin,omitempty"`
	Hash      int    `json:"hash,omitzero"` // a crypto.Hash, with sign
	Digest    []byte `json:"digest,omitempty"`
}

// The operations.
const (
	opPublic = "public-key" // the public half
	opOpen   = "open"       // likewise, of a key that will sign: a token must let us in
	opSign   = "sign"
	opCreate = "create"
)

// answer has what was asked for, or Error, or in NeedsPIN the token that wants a PIN.
type answer struct {
	PublicKey []byte `json:"publicKey,omitempty"` // PKIX
	Signature []byte `json:"signature,omitempty"`
	Error     string `json:"error,omitempty"`
	NeedsPIN  string `json:"needsPIN,omitempty"`
}

// Client runs the program. It is a [keys.Remote].
type Client struct {
	Program string   // the program's path; an empty one is an error at the first use
	Env     []string // its whole environment: the clouds' libraries find their credentials in it
	// PIN is asked for the PIN of a token that the reference has none for; nil: that is an error.
	PIN func(ctx context.Context, token string) ([]byte, error)
}

// Open returns a signer. It implements [keys.Remote].
func (c *Client) Open(ctx context.Context, ref string) (crypto.Signer, error) {
	r := request{Operation: opOpen, Ref: ref}
	pub, pin, err := c.public(ctx, r)
	if err != nil {
		return nil, err
	}
	return &signer{ctx, c, ref, pin, pub}, nil
}

// OpenPublic returns the public half. It implements [keys.Remote].
func (c *Client) OpenPublic(ctx context.Context, ref string) (crypto.PublicKey, error) {
	pub, _, err := c.public(ctx, request{Operation: opPublic, Ref: ref})
	return pub, err
}

// Create makes a new key in a cloud, of the cloud's usual algorithm for Sigstore (ECDSA P-256), and returns its public half.
func (c *Client) Create(ctx context.Context, ref string) (crypto.PublicKey, error) {
	pub, _, err := c.public(ctx, request{Operation: opCreate, Ref: ref})
	if err != nil {
		return nil, fmt.Errorf("creating key %s: %w", keys.Redact(ref), err)
	}
	return pub, nil
}

// public sends a request whose answer is a public key, and returns the PIN that was needed for it, if any.
func (c *Client) public(ctx context.Context, r request) (crypto.PublicKey, []byte, error) {
	a, err := c.ask(ctx, r)
	if err == nil && a.NeedsPIN != "" {
		if c.PIN == nil {
			return nil, nil, fmt.Errorf("%s needs a PIN", a.NeedsPIN)
		}
		if r.PIN, err = c.PIN(ctx, a.NeedsPIN); err != nil {
			return nil, nil, err
		}
		a, err = c.ask(ctx, r)
	}
	if err != nil {
		return nil, nil, err
	}
	pub, err := x509.ParsePKIXPublicKey(a.PublicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("%s answered with a public key that is none: %w", c.Program, err)
	}
	if err := keys.Check(pub); err != nil {
		return nil, nil, err
	}
	return pub, r.PIN, nil
}

// ask runs the program once.
func (c *Client) ask(ctx context.Context, r request) (answer, error) {
	if c.Program == "" {
		return answer{}, fmt.Errorf("program %s was not found; it belongs beside touchmark, or into PATH", Name)
	}
	r.Protocol = protocol
	line, err := json.Marshal(r)
	if err != nil {
		return answer{}, fmt.Errorf("writing request: %w", err)
	}
	program := child.Program{Path: c.Program, Env: c.Env, TimeLimit: TimeLimit, MaxAnswer: maxMessage}
	line, err = program.Run(ctx, append(line, '\n'))
	if err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.Unmarshal(line, &a, json.RejectUnknownMembers(true)); err != nil {
		return answer{}, fmt.Errorf("%s answered what is not understood: %v", c.Program, err)
	}
	if a.Error != "" {
		return answer{}, errors.New(a.Error)
	}
	return a, nil
}

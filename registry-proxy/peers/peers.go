// Package peers lets the replicas of a registry proxy ask each other which manifests list a blob.
//
// Behind a load balancer, a client gets an image's manifest from one replica and its layers from others, which have not seen
// that manifest. A blob is served only under an admitted manifest that lists it, so a replica that knows of none asks the others, as a
// [Client], for what their [Handler] knows: the digests of manifests of this repository that list the blob, and of the indexes that list
// these.
//
//	GET /v1/holders?repository=registry.example/app&digest=sha256:...
//	{"holders":["sha256:...","sha256:..."]}
//
// # What a peer can do
//
// A peer's answer is a hint and carries no authority. Who gets it reads each manifest from the upstream registry, by its digest and in the same
// repository, and has its own gate decide about it: a peer that lies, or that somebody took over, costs some requests to the
// upstream ([MaxHolders] for each blob), and grants nothing. Verdicts are never exchanged.
//
// Requests and answers are authenticated by HMAC-SHA256 with a secret that all replicas have, so that nobody else learns what is in
// the registry's repositories, and nobody has them read what they like:
//
//	Authorization: Touchmark-Peer <unix time>.<nonce>.<mac of "ask", time, nonce, repository, digest>
//	Touchmark-Peer-Mac: <mac of "answer", nonce, repository, digest, body>
//
// A request is good for [maxSkew] before and after its time. Repeated within it by who has overheard it, it gives the answer that was overheard, too.
// Where the network between the replicas is not to see names and digests, their addresses are https ones.
//
// Peers that do not answer are no error: the client of this package says what the others know, and the proxy searches the repository.
package peers

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// MaxHolders is how many digests an answer may hold, as many as the proxy asks its gate about for one blob.
	MaxHolders = 64
	// MinSecret is the least length of a secret, in bytes: as much as the hash has.
	MinSecret = 32
	// maxSecret bounds the file, in bytes.
	maxSecret = 4096
	// maxSkew is how far the clocks of two replicas may lie apart.
	maxSkew = time.Minute
	// maxAnswer holds MaxHolders digests, three times over.
	maxAnswer = 16 << 10
	// maxQuery holds the longest repository and a digest, escaped.
	maxQuery = 2048

	path       = "/v1/holders"
	scheme     = "Touchmark-Peer "
	headerMAC  = "Touchmark-Peer-Mac"
	nonceBytes = 16
)

// ReadSecret reads the secret of the replicas, without white space around it.
func ReadSecret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the replicas' secret: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("reading the replicas' secret: %s can be read by others than its owner: chmod 600 %s", file, file)
	}
	raw, err := configfile.Read(file, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("reading the replicas' secret: %w", err)
	}
	secret := bytes.TrimSpace(raw)
	if err := checkSecret(secret); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return secret, nil
}

func checkSecret(secret []byte) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("the replicas' secret has %d bytes, %d or more are needed: openssl rand -hex 32", len(secret), MinSecret)
	}
	return nil
}

// answer is the body of an answer.
type answer struct {
	Holders []string `json:"holders"`
}

// mac authenticates some parts, none of which holds a line break but the last.
func mac(secret []byte, parts ...string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(strings.Join(parts, "\n")))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// authorize makes the Authorization header of a request.
func authorize(secret []byte, now time.Time, nonce, repository, digest string) string {
	at := strconv.FormatInt(now.Unix(), 10)
	return scheme + at + "." + nonce + "." + mac(secret, "ask", at, nonce, repository, digest)
}

// errUnauthorized says nothing about why: whoever has the secret can find out.
var errUnauthorized = errors.New("not authorized")

// authorized checks the header, and returns the nonce.
func authorized(secret []byte, now time.Time, header, repository, digest string) (string, error) {
	rest, ok := strings.CutPrefix(header, scheme)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 || strings.ContainsAny(repository+digest+rest, "\n") {
		return "", errUnauthorized
	}
	want := mac(secret, "ask", parts[0], parts[1], repository, digest)
	at, err := strconv.ParseInt(parts[0], 10, 64)
	if !hmac.Equal([]byte(want), []byte(parts[2])) || err != nil || now.Sub(time.Unix(at, 0)).Abs() > maxSkew {
		return "", errUnauthorized
	}
	return parts[1], nil
}

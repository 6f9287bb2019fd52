package siglog

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// searchIndex answers the IDs of the entries with a digest, an e-mail address or
// other subject, or a public key. With several criteria it answers those that match
// any, or, if operator is "and", all; of each criterion the newest
// [index.MaxResults] are looked at.
func (l *Log) searchIndex(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	var query struct {
		Email     string `json:"email"`
		Hash      string `json:"hash"`
		Subject   string `json:"subject"`
		Operator  string `json:"operator"`
		PublicKey *struct {
			Format  string `json:"format"`
			Content []byte `json:"content"`
			URL     string `json:"url"`
		} `json:"publicKey"`
	}
	if err := decode(body, &query); err != nil {
		return badRequest(err)
	}
	var keys []string
	if query.Hash != "" {
		key, err := parseHash(query.Hash)
		if err != nil {
			return badRequest(err)
		}
		keys = append(keys, key)
	}
	for _, subject := range []string{query.Email, query.Subject} {
		if subject != "" {
			keys = append(keys, subjectKey(subject))
		}
	}
	if k := query.PublicKey; k != nil {
		if k.URL != "" || k.Format != "x509" {
			return badRequest(errors.New("publicKey must be given as content with format x509"))
		}
		v, err := parseVerifier(k.Content)
		if err != nil {
			return badRequest(fmt.Errorf("publicKey.content: %w", err))
		}
		key, err := v.fingerprint()
		if err != nil {
			return badRequest(err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return badRequest(errors.New("the query names no hash, email, subject or publicKey"))
	}
	if !slices.Contains([]string{"", "and", "or"}, query.Operator) {
		return badRequest(errors.New(`operator is neither "and" nor "or"`))
	}
	ids, err := l.search(r, keys, query.Operator != "and")
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ids)
	return nil
}

// search returns the entry IDs for all keys, or for any.
func (l *Log) search(r *http.Request, keys []string, any bool) ([]string, error) {
	count := map[[32]byte]int{}
	var order [][32]byte
	for _, key := range keys {
		found, err := l.v1.index.Search(r.Context(), key)
		if err != nil {
			return nil, err
		}
		for _, hash := range found {
			if count[hash]++; count[hash] == 1 {
				order = append(order, hash)
			}
		}
	}
	ids := []string{}
	for _, hash := range order {
		if any || count[hash] == len(keys) {
			ids = append(ids, fmt.Sprintf("%016x%x", l.treeID, hash))
		}
	}
	return ids, nil
}

// parseHash reads "[sha256:|sha384:|sha512:]<hex>"; without a name the length says
// which it is.
func parseHash(untrusted string) (string, error) {
	name, digits, named := strings.Cut(strings.ToLower(untrusted), ":")
	if !named {
		name, digits = "", name
	}
	digest, err := hex.DecodeString(digits)
	algorithm := map[int]string{32: "sha256", 48: "sha384", 64: "sha512"}[len(digest)]
	if err != nil || algorithm == "" || named && name != algorithm {
		return "", errors.New("hash is not a digest like sha256:<64 hex digits>")
	}
	return hashKey(algorithm, digest), nil
}

// fingerprint is the key for exactly this verifier: the certificate if it is one.
func (v verifier) fingerprint() (string, error) {
	if v.cert != nil {
		return fingerprint(v.cert.Raw), nil
	}
	spki, err := x509.MarshalPKIXPublicKey(v.key)
	return fingerprint(spki), err
}

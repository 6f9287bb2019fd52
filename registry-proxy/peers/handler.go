package peers

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// HoldersFunc says what this replica knows: the manifests of a repository, written with its registry, that list a digest.
type HoldersFunc func(repository string, digest v1.Hash) []v1.Hash

// Handler answers the other replicas. It belongs on a listener of its own, which clients need not reach. now is the clock; nil is time.Now.
func Handler(secret []byte, now func() time.Time, holders HoldersFunc) (http.Handler, error) {
	if err := checkSecret(secret); err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != path || len(r.URL.RawQuery) > maxQuery {
			http.Error(w, "this is where replicas of the registry proxy ask each other", http.StatusNotFound)
			return
		}
		query := r.URL.Query()
		repository, digest := query.Get("repository"), query.Get("digest")
		nonce, err := authorized(secret, now(), r.Header.Get("Authorization"), repository, digest)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		hash, err := v1.NewHash(digest)
		if err != nil {
			http.Error(w, "digest is none", http.StatusBadRequest)
			return
		}
		all := holders(repository, hash)
		a := answer{Holders: make([]string, 0, len(all))}
		for _, h := range all[:min(len(all), MaxHolders)] {
			a.Holders = append(a.Holders, h.String())
		}
		body, err := json.Marshal(a)
		if err != nil {
			http.Error(w, "the answer could not be written", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set(headerMAC, mac(secret, "answer", nonce, repository, digest, string(body)))
		_, _ = w.Write(body) // whoever asked may be gone
	}), nil
}

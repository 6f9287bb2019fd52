// Package trustroot publishes what clients need to use a stack and to believe it: trusted_root.json, the keys and certificates of its
// services, and two signing configs, where the services are.
//
//	GET /trusted_root.json
//	GET /signing_config.v0.2.json
//	GET /signing_config_rekor_v2.v0.2.json
//
// The files are made once, from values, read back with the reader that verifiers use, and then served and written to a directory as
// the same bytes. Over HTTP they are a convenience for a first look: whoever fetches a trusted root over a connection that can be
// tampered with trusts whoever tampers. Carry the file.
//
// A [Repository] publishes the same files for good: a TUF repository (specification 1.0, consistent snapshots), which clients follow
// through every change, from the one root that they were given.
//
//	GET /tuf/timestamp.json
//	GET /tuf/N.root.json, /tuf/N.snapshot.json, /tuf/N.targets.json
//	GET /tuf/targets/SHA256.NAME
//
// The root's keys and the targets' key may be kept elsewhere: the running service needs the online key only, with which it renews
// snapshot and timestamp long before they expire. Root and targets live for a year. They are renewed by themselves after half of it
// if their keys are at hand; if not, the log warns when 50, 75 and 90 percent of their life are over. Metadata is made, signed and
// verified by go-tuf. What has changed is written to new files first and to timestamp.json last, so that clients see the old set or
// the new one, and nothing that was published is ever changed.
//
// signing_config.v0.2.json names the log's Rekor v1 API only: a client picks the highest version that it is offered, and podman and
// policy-controller verify no other yet. signing_config_rekor_v2.v0.2.json names its Rekor v2 API only, and is for those who ask for
// it.
package trustroot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/services/internal/durable"
)

// The names of the files, in the directory and on the wire: those of Sigstore's TUF repository.
const (
	TrustedRootFile     = "trusted_root.json"
	SigningConfigFile   = "signing_config.v0.2.json"
	SigningConfigV2File = "signing_config_rekor_v2.v0.2.json"
)

// Config says what is published.
type Config struct {
	// Root is what clients are to trust. Required.
	Root *trust.Root

	// SigningConfig is what signers are to use. Required.
	SigningConfig *trust.SigningConfig

	// SigningConfigV2 is what signers are to use who want the log's Rekor v2 API. Required.
	SigningConfigV2 *trust.SigningConfig
}

// Documents are the published files. They do not change.
type Documents struct {
	files []document
}

type document struct {
	name    string
	content []byte
}

// New writes the documents and reads them back: what verifiers would not accept is an error here, before anybody has it.
func New(config Config) (*Documents, error) {
	if config.Root == nil || config.SigningConfig == nil || config.SigningConfigV2 == nil {
		return nil, errors.New("configuring trust root: Root, SigningConfig and SigningConfigV2 are required")
	}
	root, err := trust.Format(config.Root)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", TrustedRootFile, err)
	}
	read, err := trust.Parse("self", root)
	if err == nil {
		err = read.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("reading back %s: %w", TrustedRootFile, err)
	}
	d := &Documents{files: []document{{TrustedRootFile, root}}}
	for _, signing := range []struct {
		name   string
		config *trust.SigningConfig
	}{{SigningConfigFile, config.SigningConfig}, {SigningConfigV2File, config.SigningConfigV2}} {
		content, err := trust.FormatSigningConfig(signing.config)
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", signing.name, err)
		}
		if _, err := trust.ParseSigningConfig(content); err != nil {
			return nil, fmt.Errorf("reading back %s: %w", signing.name, err)
		}
		d.files = append(d.files, document{signing.name, content})
	}
	return d, nil
}

// TrustedRoot returns the bytes of trusted_root.json.
func (d *Documents) TrustedRoot() []byte { return d.Targets()[TrustedRootFile] }

// SigningConfig returns the bytes of signing_config.v0.2.json.
func (d *Documents) SigningConfig() []byte { return d.Targets()[SigningConfigFile] }

// Targets returns the documents by name, for a [Repository].
func (d *Documents) Targets() map[string][]byte {
	targets := map[string][]byte{}
	for _, file := range d.files {
		targets[file.name] = bytes.Clone(file.content)
	}
	return targets
}

// WriteFiles writes the documents to a directory, which it makes if need be, and returns their paths. Readers see a whole old file
// or a whole new one, whenever the machine stops.
func (d *Documents) WriteFiles(dir string) ([]string, error) {
	// Everybody may read what everybody may fetch.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making directory for trust root: %w", err)
	}
	var paths []string
	for _, file := range d.files {
		path := filepath.Join(dir, file.name)
		if err := durable.WriteFile(path, file.content, 0o644); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Handler serves the documents.
func (d *Documents) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, file := range d.files {
		mux.HandleFunc("/"+file.name, serve(file.content))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writeError(w, http.StatusNotFound, "no such resource") })
	return mux
}

func serve(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}
}

func writeError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message})
}

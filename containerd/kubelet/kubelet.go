// Package kubelet asks the kubelet's credential providers for the credentials of
// a registry.
//
// A credential provider is a program of the node, such as EKS's
// ecr-credential-provider, that says by which user and password an image is
// pulled. The kubelet runs it for each pull, by the configuration that
// --image-credential-provider-config names (CredentialProviderConfig of
// kubelet.config.k8s.io), from the directory of --image-credential-provider-bin-dir.
// [Open] reads the same configuration; [Providers.Get] runs the same programs, by
// the same protocol: a CredentialProviderRequest on standard input, and a
// CredentialProviderResponse on standard output.
//
// As with the kubelet,
//
//   - a provider is asked about images that one of its matchImages matches:
//     *.azurecr.io, registry.example:8443/team. Stars stand for a part of the
//     host's name, ports are equal, and a path is a prefix.
//   - of an answer's keys the longest that matches the image counts.
//   - an answer is kept as long as it says (cacheDuration, or else the
//     provider's defaultCacheDuration; 0 is not at all), for the image, the
//     registry or all images (cacheKeyType).
//   - a program has the environment of this process, and that of its
//     configuration.
//
// # What is not as the kubelet has it
//
//   - The first provider with credentials decides: the kubelet tries those of all.
//   - One program of a provider runs at a time for each registry, eight in all,
//     and for five seconds at most. The kubelet waits for a minute, containerd for a
//     verifier only ten seconds.
//   - There is no pod, so no service account's token: providers that need one
//     (requireServiceAccount) are not asked.
//   - Fields that are not known are passed over: the file is the kubelet's.
//
// Errors never have anything of what a program wrote: they end up in the events of
// pods, which more people read than a node's log, and the complaints of a program that
// knows secrets may have some. What one that fails writes to standard error is told to
// Config.Complain, for the log, which is where the kubelet has it, too.
package kubelet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxConfig bounds the configuration, in bytes; one with two providers has 2 KiB.
	maxConfig = 256 << 10
	// maxFiles bounds the files of a directory of configurations.
	maxFiles = 64
	// maxProviders bounds the providers, of which clouds have one each.
	maxProviders = 32
)

// kind of the configuration, in its versions, which agree on what is read here.
const kind = "CredentialProviderConfig"

var groups = []string{"kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1"}

// Config says where the kubelet's files are.
type Config struct {
	File string // --image-credential-provider-config: a file, or a directory of them
	Bin  string // --image-credential-provider-bin-dir
	// Now is the time, for what is kept; nil is time.Now.
	Now func() time.Time
	// Complain is told what a provider that failed wrote to standard error: its first
	// line, of 256 bytes at most, which may hold control characters. nil: nobody is,
	// and the error says so.
	Complain func(provider, said string)
}

// Providers are those of one node. They may be used by many goroutines.
type Providers struct{ providers []*provider }

// document is a CredentialProviderConfig.
type document struct {
	APIVersion string  `yaml:"apiVersion"`
	Kind       string  `yaml:"kind"`
	Providers  []entry `yaml:"providers"`
}

// entry is one provider in it.
type entry struct {
	Name                 string   `yaml:"name"`
	MatchImages          []string `yaml:"matchImages"`
	DefaultCacheDuration string   `yaml:"defaultCacheDuration"`
	APIVersion           string   `yaml:"apiVersion"`
	Args                 []string `yaml:"args"`
	Env                  []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`
	TokenAttributes *struct {
		RequireServiceAccount bool `yaml:"requireServiceAccount"`
	} `yaml:"tokenAttributes"`
}

// Open reads the configuration, and runs nothing. An error names the file.
func Open(c Config) (*Providers, error) {
	p, err := open(c)
	if err != nil {
		return nil, fmt.Errorf("reading the kubelet's credential providers: %w", err)
	}
	return p, nil
}

func open(c Config) (*Providers, error) {
	files, err := configFiles(c.File)
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p, seen := new(Providers), make(map[string]bool)
	for _, file := range files {
		doc, err := read(file)
		if err != nil {
			return nil, err
		}
		for i, e := range doc.Providers {
			made, err := e.provider(c)
			switch {
			case err != nil:
				return nil, fmt.Errorf("%s: providers[%d].%w", file, i, err)
			case seen[e.Name]:
				return nil, fmt.Errorf("%s: providers[%d].name: %q stands twice", file, i, e.Name)
			case len(p.providers) == maxProviders:
				return nil, fmt.Errorf("%s: providers: more than %d", file, maxProviders)
			}
			seen[e.Name] = true
			if e.TokenAttributes == nil || !e.TokenAttributes.RequireServiceAccount {
				p.providers = append(p.providers, made)
			}
		}
	}
	return p, nil
}

// configFiles are the files of a configuration, sorted as the kubelet has them if it is a directory.
func configFiles(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return []string{path}, nil // no directory
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml" || ext == ".json") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	switch {
	case len(files) == 0:
		return nil, fmt.Errorf("%s: holds no *.yaml, *.yml or *.json", path)
	case len(files) > maxFiles:
		return nil, fmt.Errorf("%s: %d files, at most %d are read", path, len(files), maxFiles)
	}
	return files, nil // os.ReadDir sorts
}

func read(file string) (*document, error) {
	data, err := configfile.Read(file, maxConfig)
	if err != nil {
		return nil, err
	}
	doc := new(document)
	// The library's message may quote a value, and args and env may be secret.
	if err := yaml.Unmarshal(data, doc); err != nil {
		return nil, fmt.Errorf("%s: is no %s in YAML or JSON", file, kind)
	}
	if doc.Kind != kind || !slices.Contains(groups, doc.APIVersion) {
		return nil, fmt.Errorf("%s: apiVersion %q and kind %q: want %s and %s", file, doc.APIVersion, doc.Kind, groups[0], kind)
	}
	return doc, nil
}

// provider checks an entry as the kubelet does. An error begins with the field.
func (e entry) provider(c Config) (*provider, error) {
	switch {
	case e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, `/\ `):
		return nil, fmt.Errorf("name: %q is not a program's", e.Name)
	case !slices.Contains(protocols, e.APIVersion):
		return nil, fmt.Errorf("apiVersion: %q is not known; want %s", e.APIVersion, protocols[0])
	case len(e.MatchImages) == 0:
		return nil, errors.New("matchImages: is missing")
	}
	keep, err := time.ParseDuration(e.DefaultCacheDuration)
	if err != nil || keep < 0 {
		return nil, fmt.Errorf("defaultCacheDuration: %q is not a time such as 12h", e.DefaultCacheDuration)
	}
	p := &provider{
		name: e.Name, path: filepath.Join(c.Bin, e.Name), args: e.Args, protocol: e.APIVersion, keep: keep, now: c.Now, complain: c.Complain,
		turns: newTurns(), kept: make(map[string]answer),
	}
	for _, m := range e.MatchImages {
		pattern, err := parsePattern(m)
		if err != nil {
			return nil, fmt.Errorf("matchImages: %w", err)
		}
		p.match = append(p.match, pattern)
	}
	p.env = os.Environ()
	for _, v := range e.Env {
		p.env = append(p.env, v.Name+"="+v.Value)
	}
	return p, nil
}

// Get asks the providers that are about a repository (with its registry in front,
// as the one that is asked) in their order, until one has credentials. None is no
// error, and the zero value. One that fails is an error only if no other has
// credentials; an error names the program.
func (p *Providers) Get(ctx context.Context, repository string) (authn.AuthConfig, error) {
	var failed error
	for _, each := range p.providers {
		if !slices.ContainsFunc(each.match, func(m pattern) bool { return m.matches(repository) }) {
			continue
		}
		found, err := each.get(ctx, repository)
		if err == nil && found != (authn.AuthConfig{}) {
			return found, nil
		}
		failed = cmp.Or(failed, err)
	}
	return authn.AuthConfig{}, failed
}

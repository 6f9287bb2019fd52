package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/trust/tuf"
)

// PublicGood is the name of the trust root that is built in, and stands for the
// repository where it is followed.
const PublicGood = "public-good"

// DefaultState is state where the file says nothing. The systemd unit makes it.
const DefaultState = "/var/lib/touchmark-proxy"

// Root is a trust root.
type Root struct {
	Name string // for policies; empty for one that has none
	File string // trusted_root.json or .jsonl; empty for [PublicGood], and for what is followed
	TUF  TUF    // how it is followed; zero if it is not
}

// TUF says how a trust root is followed.
type TUF struct {
	Mirror   string        // URL of the TUF repository, or [PublicGood]; empty for none
	Root     string        // file with the root.json to start from; empty for public-good, whose root is built in
	CA       string        // file; empty for the system's authorities alone
	MaxStale time.Duration // how long metadata is good after its end; 0 is strict
}

// Followed reports whether the trust root is followed by TUF.
func (r Root) Followed() bool { return r.TUF.Mirror != "" }

// Followed are the trust roots that are followed, each once.
func (c *Config) Followed() (roots []Root) {
	for _, r := range c.Registries {
		for _, root := range r.Trust {
			if root.Followed() && !slices.Contains(roots, root) {
				roots = append(roots, root)
			}
		}
	}
	return roots
}

// TUFDir is where the proxy keeps what it saw of a trust root's TUF repository. Another
// repository under the same name is kept beside it; the same one has its place when its
// root.json is replaced by a later one.
func (c *Config) TUFDir(r Root) string {
	mirror := sha256.Sum256([]byte(r.TUF.Mirror))
	return filepath.Join(c.State, "tuf", r.Name+"-"+hex.EncodeToString(mirror[:8]))
}

// rootFiles are what a trust root is made from. The metadata of one that is followed
// says how long it is good.
func (c *Config) rootFiles(r Root) []string {
	if !r.Followed() {
		return []string{r.File}
	}
	return append(r.TUF.Files(), c.TUFDir(r))
}

// Files are those that say how a trust root is followed.
func (t TUF) Files() (files []string) {
	for _, f := range []string{t.Root, t.CA} {
		if f != "" {
			files = append(files, f)
		}
	}
	return files
}

// Rules tells what a registry demands from what others do: policy and trust roots.
func (r Registry) Rules() string { return fmt.Sprintf("%q %#v", r.Policy, r.Trust) }

// root is a trust root as it is written.
type root struct {
	Name     string `yaml:"name"`
	File     string `yaml:"file"`
	Mirror   string `yaml:"mirror"`
	Root     string `yaml:"root"`
	CA       string `yaml:"ca"`
	MaxStale string `yaml:"maxStale"`
}

// rootName is what policies can call a trust root. The directory of one that is
// followed begins with that name.
var rootName = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\z`)

func (p parser) trust(field string, list []root) ([]Root, error) {
	var roots []Root
	seen := map[string]bool{}
	for i, r := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !rootName.MatchString(r.Name):
			return nil, p.Fail(at+".name", "%q is not a name of letters, digits, '-', '_' and '.'", r.Name)
		case seen[r.Name]:
			return nil, p.Fail(at+".name", "%q stands twice", r.Name)
		case r.Mirror == "" && r.Root+r.CA+r.MaxStale != "":
			return nil, p.Fail(at+".mirror", "is missing: root, ca and maxStale are about the TUF repository there")
		case r.Mirror == "" && r.File == "" && r.Name != PublicGood:
			return nil, p.Fail(at+".file", "is missing: only %s is built in; or give mirror and root, to follow it by TUF", PublicGood)
		}
		seen[r.Name] = true
		root := Root{Name: r.Name, File: p.Path(r.File, "")}
		if r.Mirror != "" {
			var err error
			if root.TUF, err = p.tuf(at, r); err != nil {
				return nil, err
			}
			if other, known := p.followed[r.Name]; known && other != root {
				return nil, p.Fail(at+".name", "%q is followed elsewhere in this file in another way; what was seen of a repository is kept by this name", r.Name)
			}
			p.followed[r.Name] = root
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// tuf reads how a trust root is followed.
func (p parser) tuf(at string, r root) (TUF, error) {
	t := TUF{Mirror: r.Mirror, Root: p.Path(r.Root, ""), CA: p.Path(r.CA, ""), MaxStale: tuf.DefaultMaxStale}
	switch {
	case r.File != "":
		return t, p.Fail(at, "want either file or mirror")
	case r.Mirror != PublicGood && r.Root == "":
		return t, p.Fail(at+".root", "is missing: the root.json that the operators of the repository handed out")
	case r.Mirror != PublicGood && !repository(r.Mirror):
		return t, p.Fail(at+".mirror", "want the URL of a TUF repository without credentials, or %s", PublicGood)
	}
	if r.MaxStale != "" {
		var err error
		if t.MaxStale, err = configfile.ParseDuration(r.MaxStale); err != nil || t.MaxStale < 0 {
			return t, p.Fail(at+".maxStale", "%q is not a time such as 30d or 36h", r.MaxStale)
		}
	}
	return t, nil
}

// repository reports whether a TUF repository can be at a URL. Plain HTTP will do:
// everything there is signed.
func repository(mirror string) bool {
	u, err := url.Parse(mirror)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

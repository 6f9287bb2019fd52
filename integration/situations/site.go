package situations

import (
	"bytes"
	"embed"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

//go:embed sites
var siteFiles embed.FS

// sites are what is in force together: the files of each, of the folder sites.
var sites = map[string][]string{
	"default": {"alice", "signers", "keys", "evidence", "modes", "enforcement"},

	"predicates":         {"alice", "predicates"},
	"index":              {"alice", "index-index"},
	"platform":           {"alice", "index-platform"},
	"both":               {"alice", "index-both"},
	"witnessed":          {"alice", "witnessed"},
	"fresh":              {"alice", "keys", "fresh"},
	"observing":          {"alice", "observing"},
	"trusting":           {"alice", "keys"},
	"unmatched-refused":  {"alice", "unmatched-refused"},
	"unmatched-observed": {"alice", "unmatched-observed"},
	"unmatched-admitted": {"alice", "unmatched-admitted"},
}

// Site is what is in force for some situations.
type Site struct {
	Name string
	// Policy is a directory of policy files.
	Policy string
	// Roots are the trust roots to load.
	Roots []Root
}

// Root is a trusted_root.json.
type Root struct{ Name, File string }

// Flags are the site as flags of touchmark's commands.
func (s *Site) Flags() []string {
	flags := []string{"--policy", s.Policy}
	for _, r := range s.Roots {
		flags = append(flags, "--trusted-root", r.Name+"="+r.File)
	}
	return flags
}

// writeSites writes the directories of all sites.
func (b *builder) writeSites(tb testing.TB) {
	tb.Helper()
	roots := []Root{{"private", filepath.Join(b.Dir, "private.json")}, {"second", filepath.Join(b.Dir, "second.json")}}
	write(tb, roots[0].File, coretest.FormatRoot(tb, b.privateRoot()))
	write(tb, roots[1].File, b.second.TrustedRootJSON(tb))
	for name, files := range sites {
		site := &Site{Name: name, Policy: filepath.Join(b.Dir, "sites", name), Roots: roots}
		if err := os.MkdirAll(site.Policy, 0o700); err != nil {
			tb.Fatal(err)
		}
		for _, file := range files {
			file += ".yaml"
			t, err := template.New(file).Funcs(template.FuncMap{"indent": indent}).ParseFS(siteFiles, "sites/"+file)
			if err != nil {
				tb.Fatal(err)
			}
			var text bytes.Buffer
			if err := t.Execute(&text, values{b, tb}); err != nil {
				tb.Fatal(err)
			}
			write(tb, filepath.Join(site.Policy, file), text.Bytes())
		}
		b.Sites[name] = site
	}
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// values are what the files of sites leave open.
type values struct {
	b  *builder
	tb testing.TB
}

func (v values) Registry() string     { return v.b.Registry }
func (v values) Issuer() string       { return coretest.Issuer }
func (v values) AuthorityURL() string { return v.b.private.Root().CertificateAuthorities[0].URI }
func (v values) LogURL() string       { return v.b.private.V1.BaseURL }
func (v values) Prefix() string       { return tagPrefix }
func (v values) Lookaside() string    { return "http://" + v.b.Registry + lookasideRoot }
func (v values) KeyNames() []string   { return names(keySpecs) }

// KeyHash is the hash that a key's signatures are over, if it is not the usual.
func (v values) KeyHash(name string) string {
	if keySpecs[name].hash == 0 {
		return ""
	}
	return "sha512"
}

// Key is a public key.
func (v values) Key(name string) (string, error) {
	key, ok := v.b.keys[name]
	if !ok {
		return "", fmt.Errorf("there is no key %q", name)
	}
	text, err := entry.PublicKeyPEM(key.Public())
	return string(text), err
}

// OwnAuthority is the chain of a certificate authority that is in no trust root.
func (v values) OwnAuthority() string {
	var chain strings.Builder
	for _, der := range [][]byte{v.b.own.Intermediate.Raw, v.b.own.Root.Raw} {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return chain.String()
}

func (v values) VendorKey() string { return v.b.vendors["vendor"].publicKeys(v.tb) }

// Witnesses are those that the site knows.
func (v values) Witnesses() []string {
	var keys []string
	for _, w := range v.b.witnesses[:2] {
		keys = append(keys, w.Witness().String())
	}
	return keys
}

// Ago is a time before now.
func (v values) Ago(duration string) (string, error) {
	d, err := time.ParseDuration(duration)
	return time.Now().Add(-d).UTC().Format(time.RFC3339), err
}

// indent moves all lines but the first, for a block in YAML.
func indent(by int, text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+strings.Repeat(" ", by))
}

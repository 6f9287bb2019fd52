package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd/config"
)

func TestAddImport(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":         {"", "imports = ['/d/*.toml']\n"},
		"version":         {"# mine\nversion = 3 # three\nroot = \"/x\"\n[plugins]\n", "# mine\nversion = 3 # three\nimports = ['/d/*.toml']\nroot = \"/x\"\n[plugins]\n"},
		"no version":      {"root = \"/x\"\n", "imports = ['/d/*.toml']\nroot = \"/x\"\n"},
		"no line end":     {"version = 3", "imports = ['/d/*.toml']\nversion = 3"},
		"empty":           {"imports = []\n", "imports = ['/d/*.toml']\n"},
		"one":             {"imports = [\"a\"]\n", "imports = [\"a\", '/d/*.toml']\n"},
		"another case":    {"Imports = ['a']\n", "Imports = ['a', '/d/*.toml']\n"},
		"comma":           {"imports = ['a',]\n", "imports = ['a','/d/*.toml']\n"},
		"lines":           {"imports = [\n  \"a]#\", # ]\n  'b' # it's \"\n]\nversion = 2\n", "imports = [\n  \"a]#\", # ]\n  'b' # it's \"\n, '/d/*.toml']\nversion = 2\n"},
		"comma, comment":  {"imports = [\n  'a', # b\n]\n", "imports = [\n  'a', # b\n'/d/*.toml']\n"},
		"carriage return": {"version = 3\r\nroot = 'x'\r\n", "version = 3\r\nimports = ['/d/*.toml']\nroot = 'x'\r\n"},
		"in a string":     {"root = '''\nimports = [\n'''\n", "imports = ['/d/*.toml']\nroot = '''\nimports = [\n'''\n"},
		"below a table":   {"[plugins.x]\nimports = ['a']\n", "imports = ['/d/*.toml']\n[plugins.x]\nimports = ['a']\n"},
		"not a list":      {"imports = 'a'\n", ""},
		"not TOML":        {"imports = [\n", ""},
		"a version below": {"[plugins.x]\nversion = 3\n", "imports = ['/d/*.toml']\n[plugins.x]\nversion = 3\n"},
	} {
		got, err := config.AddImport([]byte(c.text), "/d/*.toml")
		if (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := config.AddImport(nil, "/it's/*.toml"); err == nil {
		t.Error("a quote in a pattern")
	}
}

func TestParseRelease(t *testing.T) {
	for version, want := range map[string]string{
		"v2.4.2": "2.4", "2.1.4-k3s1": "2.1", "1.7.28~ds1-1": "1.7", "v2.0.0-rc.1": "2.0", "2.3": "2.3", "v2.4.2+unknown": "2.4", "v2.3.0-beta.1.m": "2.3",
		"": "", "2": "", "vx.y": "", "2.4x": "", "99999.1": "", "unknown": "",
	} {
		got, err := config.ParseRelease(version)
		if err != nil && want != "" || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v, want %s", version, got, err, want)
		}
	}
	for _, c := range []struct {
		release             config.Release
		verifies, transfers bool
	}{{config.Release{Major: 1, Minor: 7}, false, false}, {config.Release{Major: 2}, true, false}, {config.Release{Major: 2, Minor: 1}, true, true}, {config.Newest(), true, true}, {config.Release{Major: 3}, true, true}} {
		if c.release.Verifies() != c.verifies || c.release.Transfers() != c.transfers {
			t.Errorf("%s", c.release)
		}
	}
}

package registriesd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/podman/registriesd"
)

// dirs writes directories of files.
func dirs(t *testing.T, files ...map[string]string) []string {
	t.Helper()
	var out []string
	for _, set := range files {
		dir := t.TempDir()
		for name, text := range set {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, dir)
	}
	return append(out, filepath.Join(t.TempDir(), "none"))
}

func TestPOD02_TheMostSpecificEntryWins(t *testing.T) {
	d := dirs(t, map[string]string{
		"a.yaml": "docker:\n  registry.example:\n    lookaside: https://a/\n    use-sigstore-attachments: true\n",
		"README": "docker: [",
	}, map[string]string{
		"a.yaml": "docker:\n  overridden.example:\n    lookaside: https://never/\n",
		"b.yaml": "default-docker:\n  lookaside-staging: file:///staging\ndocker:\n  registry.example/team:\n    sigstore: https://old/\n    unknown: 1\n  '*.example':\n    lookaside: https://wild/\n  registry.example/team/app:\n    lookaside-staging: file:///app\n",
	})
	c, err := registriesd.Load(d)
	if err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(d[0], "a.yaml"), filepath.Join(d[1], "b.yaml")
	for _, test := range []struct {
		repository string
		want       registriesd.Namespace
		ok         bool
	}{
		{"registry.example/other/app", registriesd.Namespace{Lookaside: "https://a/", Staging: "https://a/", UseSigstoreAttachments: true, File: a, Key: "registry.example"}, true},
		{"registry.example/team/x", registriesd.Namespace{Lookaside: "https://old/", Staging: "https://old/", UseSigstoreAttachments: true, File: b, Key: "registry.example/team"}, true},
		{"registry.example/team/app", registriesd.Namespace{Lookaside: "https://old/", Staging: "file:///app", UseSigstoreAttachments: true, File: b, Key: "registry.example/team"}, true},
		{"other.example/x", registriesd.Namespace{Lookaside: "https://wild/", Staging: "https://wild/", File: b, Key: "*.example"}, true},
		{"docker.io/library/x", registriesd.Namespace{Staging: "file:///staging"}, false},
		{"overridden.example/x", registriesd.Namespace{Lookaside: "https://wild/", Staging: "https://wild/", File: b, Key: "*.example"}, true},
	} {
		got, ok := c.For(test.repository)
		if diff := cmp.Diff(test.want, got); diff != "" || ok != test.ok {
			t.Errorf("%s: %v (-want +got)\n%s", test.repository, ok, diff)
		}
	}
	if diff := cmp.Diff([]string{"registry.example", "registry.example/team", "registry.example/team/app"}, c.Below("registry.example")); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_RefusesWhatClientsRefuse(t *testing.T) {
	for _, c := range []struct {
		name, other, text, want string
	}{
		{"namespace in two files", "docker:\n  b.example: {}\n", "docker:\n  a.example: {}\n", `"a.example" stands both in`},
		{"default in two files", "docker:\n  b.example: {}\n", "default-docker:\n  lookaside: file:///x\ndocker:\n  c.example: {}\n", `"default-docker" stands both in`},
		{"namespace twice", "docker:\n  b.example: {}\n", "docker:\n  c.example: {}\n  c.example: {}\n", "already defined"},
		{"no mapping", "docker:\n  b.example: {}\n", "docker: 1\n", "cannot unmarshal"},
	} {
		first := "default-docker:\n  lookaside: file:///x\ndocker:\n  a.example:\n    lookaside: file:///x\n"
		if _, err := registriesd.Load(dirs(t, map[string]string{"1.yaml": first, "2.yaml": c.other})); err != nil {
			t.Errorf("%s: the twin: %v", c.name, err)
		}
		_, err := registriesd.Load(dirs(t, map[string]string{"1.yaml": first, "2.yaml": c.text}))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "2.yaml") {
			t.Errorf("%s: error %v, want %q and the file", c.name, err, c.want)
		}
	}
}

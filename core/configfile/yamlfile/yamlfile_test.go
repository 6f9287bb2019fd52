package yamlfile_test

import (
	"errors"
	"testing"

	"github.com/touchmark/touchmark/core/configfile/yamlfile"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"good", "name: a\nlist:\n- {name: b}\n", ""},
		{"empty", "", ""},
		{"a comment", "# nothing\n", ""},
		{"unknown", "name: a\nnam: b\n", "f.yaml:2: nam: unknown field"},
		{"unknown below", "list:\n- name: a\n  other: b\n", "f.yaml:3: other: unknown field"},
		{"twice", "name: a\nname: b\n", `f.yaml:2: mapping key "name" already defined at line 1`},
		{"empty value", "list:\n- name:\n", "f.yaml:2: list[0].name: is empty; give it a value, or leave it out"},
		{"null", "name: ~\n", "f.yaml:1: name: is null; give it a value, or leave it out"},
		{"alias", "name: &a x\n", "f.yaml:1: name: anchors and aliases are not supported; write the value out"},
		{"tag", "name: !!str x\n", "f.yaml:1: name: the tag !!str has no meaning here"},
		{"type", "list: x\n", "f.yaml:1: is of another type; want a mapping or a list"},
		{"two documents", "name: a\n---\nname: b\n", "f.yaml: holds more than one document"},
		{"wrong by its owner", "name: wrong\n", "f.yaml:1: name: is wrong"},
		{"wrong below", "name: a\nlist:\n- {name: b}\n- {name: wrong}\n", "f.yaml:4: list[1].name: is wrong"},
	} {
		var doc struct {
			Name string `yaml:"name"`
			List []struct {
				Name string `yaml:"name"`
			} `yaml:"list"`
		}
		f, err := yamlfile.Decode([]byte(c.text), "f.yaml", &doc)
		switch {
		case err != nil:
		case doc.Name == "wrong":
			err = f.Fail("name", "is wrong")
		case len(doc.List) == 2:
			err = f.Fail("list[1].name", "is wrong")
		}
		if got := text(err); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if typed := (*yamlfile.Error)(nil); err != nil && !errors.As(err, &typed) {
			t.Errorf("%s: %T is no *yamlfile.Error", c.name, err)
		}
	}
}

func TestPath(t *testing.T) {
	f, err := yamlfile.Decode(nil, "/etc/touchmark/f.yaml", &struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	for written, want := range map[string]string{"": "/default", "/a/../b": "/b", "a.pem": "/etc/touchmark/a.pem"} {
		if got := f.Path(written, "/default"); got != want {
			t.Errorf("%q: got %s, want %s", written, got, want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

package commandline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd/commandline"
)

func TestFlag(t *testing.T) {
	for text, want := range map[string]string{
		"ExecStart=/usr/local/bin/k3s server --data-dir /a":                      "/a",
		"ExecStart=/usr/local/bin/k3s \\\n    server \\\n\t'--data-dir=/a' \\\n": "/a",
		"ExecStart=/usr/local/bin/k3s \\\n\tserver \\\n\t'-d' \\\n\t'/a' \\\n\n": "/a",
		"run --data-dir /a -data-dir=/b":                                         "/b",
		"EXTRA_ARGS=--data-dir=/a":                                               "/a",
		"EXTRA_ARGS=\"--data-dir /a --verbose\"":                                 "/a",
		"# run --data-dir /a\nrun server":                                        "",
		"run data-dir /a --data-directory /b --data-dir":                         "",
	} {
		if got := commandline.Flag(commandline.Words(text), "data-dir", "d"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestVariable(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\nDIR=/a\n": "/a", "DIR='/a'\n": "/a", "Environment=DIR=/a": "/a", "Environment=\"A=1\" \"DIR=/a\"": "/a", "DIR=/a\nDIR=/b\n": "/b", "#DIR=/a\nMYDIR=/b\n": "",
	} {
		if got := commandline.Variable(commandline.Words(text), "DIR"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	if diff := cmp.Diff([]string{"A=--x=1", "--y", "2"}, commandline.Words("  # no\nA=\"--x=1 --y 2\"\n")); diff != "" {
		t.Error(diff)
	}
}

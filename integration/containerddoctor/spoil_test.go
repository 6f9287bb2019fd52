package containerddoctor_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// settings is a config.toml of version 3, with lines for CRI's images, and tables besides.
func settings(images string, further ...string) string {
	return "version = 3\n[plugins.'io.containerd.cri.v1.images']\n" + images + "\n" + strings.Join(further, "\n") + "\n[plugins.'io.containerd.nri.v1.nri']\n  disable = true\n"
}

// oneDirectory is where hosts.toml are.
const oneDirectory = "[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/etc/containerd/certs.d'\n"

// config writes config.toml.
func config(images string, further ...string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		n.Write(t, lab.ContainerdConfig, settings(images, append([]string{oneDirectory}, further...)...))
	}
}

// verifiers are lines of the section of verifiers.
func verifiers(lines string) func(*testing.T, *node) {
	return config("", "[plugins.'io.containerd.image-verifier.v1.bindir']\n"+lines)
}

// disabled disables plugins.
func disabled(plugins string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		n.Write(t, lab.ContainerdConfig, strings.Replace(settings("", oneDirectory), "version = 3\n", "version = 3\ndisabled_plugins = ["+plugins+"]\n", 1))
	}
}

// run has root run commands of a shell.
func run(script string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		t.Helper()
		n.Root().Must(t, 0, "sh", "-ec", script)
	}
}

// script is a file that everybody may run.
func script(path, text string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) { n.Script(t, path, text) }
}

func write(path, text string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) { n.Write(t, path, text) }
}

func all(steps ...func(*testing.T, *node)) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		t.Helper()
		for _, s := range steps {
			s(t, n)
		}
	}
}

// appended appends to a file.
func appended(path, text string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) { n.Write(t, path, n.read(t, path)+text) }
}

func (n *node) read(t *testing.T, path string) string { return file(t, n.Path(path)) }

// passing is a policy that admits images without a signature.
func passing(name, glob string) string {
	return fmt.Sprintf("apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: %s}\nspec:\n  images: [{glob: %q}]\n  authorities: [{name: none, static: {action: pass}}]\n", name, glob)
}

// alice has a user without rights run commands of a shell.
func (n *node) alice(t *testing.T, script string) {
	t.Helper()
	n.Alice().Must(t, 0, "sh", "-ec", script)
}

// replaced has alice replace a file, shows that the unsigned image gets in, and puts it back.
func replaced(path, by string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		t.Helper()
		before := n.read(t, path)
		info, err := os.Stat(n.Path(path))
		if err != nil {
			t.Fatal(err)
		}
		n.alice(t, "cat > "+path+" <<'END'\n"+by+"\nEND")
		n.getsIn(t, byCtr)
		if err := os.WriteFile(n.Path(path), []byte(before), info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

// getsIn shows that the unsigned image gets in.
func (n *node) getsIn(t *testing.T, way string) {
	t.Helper()
	if says := n.pull(t, way, n.site.unsigned); says != "" {
		t.Errorf("%s: the unsigned image is kept out: %s", way, says)
	}
}

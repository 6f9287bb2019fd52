package clients

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const (
	alice   = "alice@acme.example"
	bob     = "bob@acme.example"
	mallory = "mallory@evil.example"
)

// password protects cosign's key file.
const password = "correct horse"

// world is what clients are tried against, and the files that a user makes of it.
type world struct {
	*lab.World
	names []string // values and what the document calls them, for strings.NewReplacer
}

// newWorld starts a registry, with the referrers API or without it, and a Sigstore.
func newWorld(t *testing.T, withReferrers bool) *world {
	t.Helper()
	w := &world{World: lab.New(t, withReferrers)}
	w.names = []string{
		w.Root, "trusted_root.json", w.Signing, "signing_config.v0.2.json", w.Dir + string(filepath.Separator), "",
		w.Stack.URL, "$URL", w.Registry, "$REGISTRY",
	}
	return w
}

// call names a value in the document.
func (w *world) call(value, name string) string {
	w.names = append([]string{value, name}, w.names...)
	return value
}

// path is a file of the test.
func (w *world) path(name string) string { return filepath.Join(w.Dir, name) }

// file writes a file of the test and returns its path.
func (w *world) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(w.path(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return w.path(name)
}

// token is an identity token, as from "touchmark token".
func (w *world) token(t *testing.T, as string) string {
	t.Helper()
	return w.call(strings.TrimSpace(lab.Touchmark(t, 0, "token", "--server", w.Stack.URL, "--as", as).Stdout), "$TOKEN")
}

// get fetches what the server tells everybody.
func (w *world) get(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := http.Get(w.Stack.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v", path, resp.StatusCode, err)
	}
	return body
}

// variables is the environment that cosign takes trust from where it knows no --trusted-root: the authorities' certificates and the logs' keys.
func (w *world) variables(t *testing.T) []string {
	t.Helper()
	root, err := trust.Load("root", w.Root)
	if err != nil {
		t.Fatal(err)
	}
	ctlog, err := keys.MarshalPublic(root.CTLogs[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"SIGSTORE_ROOT_FILE=" + w.file(t, "fulcio.pem", w.get(t, "/api/v1/rootCert")),
		"SIGSTORE_REKOR_PUBLIC_KEY=" + w.file(t, "rekor.pub", w.get(t, "/api/v1/log/publicKey")),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + w.file(t, "ctfe.pub", ctlog),
	}
}

// client is a program with a name for the document.
type client struct {
	lab.Command
	name  string // with the version, as in cosign 3.1.3
	shown string // what a user types, as in cosign
}

// offline lets clients reach this machine only: Go's and curl's proxy settings spare loopback.
var offline = []string{"HTTP_PROXY=http://127.0.0.1:9", "HTTPS_PROXY=http://127.0.0.1:9", "NO_PROXY=127.0.0.1"}

// line is the command as the document shows it.
func (w *world) line(c client, args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if quoted[i] = arg; strings.ContainsAny(arg, " $") {
			quoted[i] = `"` + arg + `"`
		}
	}
	return w.shown(strings.Join(append([]string{c.shown}, quoted...), " "))
}

// shown has names for what differs from run to run.
func (w *world) shown(text string) string { return strings.NewReplacer(w.names...).Replace(text) }

// does runs the client, wants success, and puts it on record.
func (w *world) does(t *testing.T, c client, what string, env []string, args ...string) lab.Result {
	t.Helper()
	r := w.run(t, c, env, args...)
	if r.Status != 0 {
		t.Fatalf("%s does not: %s\n%s\n%s", c.name, what, w.line(c, args), r.Output())
	}
	command := w.line(c, args)
	if env != nil {
		command = "env $FILES " + command
	}
	journal.add(c.name, what, command, "")
	return r
}

// refuses runs the client, wants it to fail with the text in its output, and puts that on record beside what the client does: it does not do it for the case.
func (w *world) refuses(t *testing.T, c client, what, which, text string, env []string, args ...string) {
	t.Helper()
	if r := w.run(t, c, env, args...); r.Status == 0 || !strings.Contains(r.Output(), text) {
		t.Errorf("%s: status %d, want a failure with %q\n%s\n%s", c.name, r.Status, text, w.line(c, args), r.Output())
		return
	}
	journal.add(c.name, what, "", which+": “"+w.shown(text)+"”")
}

func (w *world) run(t *testing.T, c client, env []string, args ...string) lab.Result {
	t.Helper()
	c.Env = slices.Concat(offline, c.Env, env)
	return c.Run(t, args...)
}

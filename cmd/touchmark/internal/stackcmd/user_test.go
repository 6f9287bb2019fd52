package stackcmd

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// withInput is a command that reads from text.
func withInput(cmd *cobra.Command, text string) *cobra.Command {
	cmd.SetIn(strings.NewReader(text))
	return cmd
}

// People and machines come and go while the server runs, and it sees each change.
func TestUserAndClient(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	server, stop := upAt(t, "--data", data, "--listen", "127.0.0.1:0", "--oidc-issuer", "https://login.acme.example=touchmark")
	var out bytes.Buffer
	run := func(cmd *cobra.Command, want int, text string, args ...string) string {
		t.Helper()
		out.Reset()
		s, err := status(t.Context(), cmd, &out, append(args, "--data", data)...)
		if s != want || (err != nil && !strings.Contains(err.Error(), text)) {
			t.Errorf("%s %v: status %d, %v; want %d and %q", cmd.Name(), args, s, err, want, text)
		}
		return out.String()
	}
	const password = "correct horse battery\n"
	run(withInput(NewUser(), password), 0, "", "add", "alice@acme.example", "--password-stdin")
	run(withInput(NewUser(), password), exit.StatusUsage, "exists already", "add", "ALICE@acme.example", "--password-stdin")
	run(withInput(NewUser(), "short\n"), exit.StatusUsage, "at least 12", "add", "bob@acme.example", "--password-stdin")
	run(withInput(NewUser(), password+"more\n"), exit.StatusUsage, "more than one line", "add", "bob@acme.example", "--password-stdin")
	run(withInput(NewUser(), strings.Repeat("x", 300)), exit.StatusUsage, "more than 256", "add", "bob@acme.example", "--password-stdin")
	run(withInput(NewUser(), password), exit.StatusUsage, "not a plain e-mail address", "add", "bob", "--password-stdin")
	run(withInput(NewUser(), password), exit.StatusUsage, "--password-stdin", "add", "bob@acme.example") // no terminal to ask on
	run(withInput(NewUser(), password), exit.StatusUsage, "no such account", "passwd", "bob@acme.example", "--password-stdin")
	run(withInput(NewUser(), "another good one\r\n"), 0, "", "passwd", "alice@acme.example", "--password-stdin")
	run(NewUser(), exit.StatusUsage, "", "add")
	if got := run(NewUser(), 0, "", "list"); !strings.HasPrefix(got, "alice@acme.example  ") || strings.Count(got, "\n") != 1 {
		t.Errorf("list printed %q", got)
	}

	secret := strings.TrimSpace(run(NewClient(), 0, "", "add", "ci"))
	ask := func() int {
		response, err := http.PostForm(server+"/issuer/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"ci"}, "client_secret": {secret}})
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if got := ask(); got != http.StatusOK {
		t.Errorf("the running server answers the new client %d", got)
	}
	if got := run(NewClient(), 0, "", "list"); !strings.Contains(got, "ci@clients.127.0.0.1") || strings.Contains(got, secret) {
		t.Errorf("list printed %q", got)
	}
	run(NewClient(), exit.StatusUsage, "exists already", "add", "ci")
	run(NewClient(), exit.StatusUsage, "lower-case", "add", "CI")
	run(NewClient(), 0, "", "remove", "ci")
	run(NewClient(), exit.StatusUsage, "no such account", "remove", "ci")
	if got := ask(); got != http.StatusUnauthorized {
		t.Errorf("the running server answers the removed client %d", got)
	}
	run(NewUser(), 0, "", "remove", "alice@acme.example")
	run(NewUser(), exit.StatusUsage, "no such account", "remove", "alice@acme.example")
	s, text, err := stop()
	if s != 0 || !strings.Contains(text, "touchmark user add") {
		t.Errorf("stopping: status %d, %v\n%s", s, err, text)
	}
}

func TestUserNeedsADataDirectory(t *testing.T) {
	for _, cmd := range []*cobra.Command{NewUser(), NewClient()} {
		if s, err := status(t.Context(), cmd, io.Discard, "list", "--data", filepath.Join(t.TempDir(), "none")); s != exit.StatusUndecided || !strings.Contains(err.Error(), "touchmark up") {
			t.Errorf("%s: status %d, %v", cmd.Name(), s, err)
		}
	}
}

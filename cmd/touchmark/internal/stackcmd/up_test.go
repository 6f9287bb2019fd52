package stackcmd

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// safeBuffer is a buffer that a command writes to while the test reads it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// status runs one command and returns its exit status, its output and its error.
func status(ctx context.Context, cmd *cobra.Command, stdout io.Writer, args ...string) (int, error) {
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(io.Discard)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(ctx)
	return exit.Status(err), err
}

var readyLine = regexp.MustCompile(`Ready at (\S+)\n`)

// upAt runs touchmark up until stop is called, which returns its exit status and its output.
func upAt(t *testing.T, args ...string) (url string, stop func() (int, string, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	var out safeBuffer
	type end struct {
		status int
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		s, err := status(ctx, NewUp(), io.MultiWriter(&out, writer), args...)
		_ = writer.Close()
		ended <- end{s, err}
	}()
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		var seen bytes.Buffer
		chunk := make([]byte, 4096)
		for {
			n, err := reader.Read(chunk)
			seen.Write(chunk[:n])
			if found := readyLine.FindSubmatch(seen.Bytes()); found != nil {
				ready <- string(found[1])
				_, _ = io.Copy(io.Discard, reader)
				return
			}
			if err != nil {
				return
			}
		}
	}()
	stop = func() (int, string, error) {
		cancel()
		e := <-ended
		ended <- e
		return e.status, out.String(), e.err
	}
	t.Cleanup(func() { stop() })
	url, ok := <-ready
	if !ok {
		s, text, err := stop()
		t.Fatalf("touchmark up %s: status %d, %v\n%s", strings.Join(args, " "), s, err, text)
	}
	return url, stop
}

func TestUpAndToken(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	url, stop := upAt(t, "--data", data, "--listen", "127.0.0.1:0", "--insecure-dev-issuer")
	response, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("healthz: %d", response.StatusCode)
	}

	var out bytes.Buffer
	if s, err := status(t.Context(), NewToken(), &out, "--server", url, "--as", "alice@acme.example"); s != 0 {
		t.Fatalf("token: status %d, %v", s, err)
	}
	if !regexp.MustCompile(`\A[\w-]+\.[\w-]+\.[\w-]+\n\z`).MatchString(out.String()) {
		t.Errorf("token printed %q", out.String())
	}
	out.Reset()
	for _, test := range []struct {
		args []string
		want int
		text string
	}{
		{[]string{"--server", url}, exit.StatusUsage, "--as"},
		{[]string{"--server", url, "--as", "alice"}, exit.StatusUsage, "alice"},
		{[]string{"--server", url, "--as", "alice@acme.example\n"}, exit.StatusUsage, "alice"},
		{[]string{"--server", "http://127.0.0.1:1", "--as", "alice@acme.example"}, exit.StatusUndecided, "http://127.0.0.1:1"},
		{[]string{"--server", url, "--as", "alice@acme.example", "extra"}, exit.StatusUsage, "extra"},
	} {
		if s, err := status(t.Context(), NewToken(), &out, test.args...); s != test.want || err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("token %v: status %d, %v; want %d and %q", test.args, s, err, test.want, test.text)
		}
	}
	if out.Len() != 0 {
		t.Errorf("a token that was refused printed %q", out.String())
	}

	// A second writer is refused while the first runs.
	if s, err := status(t.Context(), NewUp(), io.Discard, "--data", data, "--listen", "127.0.0.1:0", "--public-url", url); s != exit.StatusUndecided || !strings.Contains(err.Error(), data) {
		t.Errorf("second writer: status %d, %v", s, err)
	}
	s, text, err := stop()
	if s != 0 {
		t.Errorf("stopping: status %d, %v", s, err)
	}
	for _, want := range []string{"Created in", "keys/ca-root.pem", "state.json", "trust/trusted_root.json", "touchmark token --server " + url, "touchmark sign", "touchmark verify"} {
		if !strings.Contains(text, want) {
			t.Errorf("output lacks %q:\n%s", want, text)
		}
	}

	// Port 0 takes the same port again; another URL is refused with both.
	again, stop := upAt(t, "--data", data, "--listen", "127.0.0.1:0")
	if again != url {
		t.Errorf("second start at %s, first at %s", again, url)
	}
	if s, err := status(t.Context(), NewToken(), &out, "--server", again, "--as", "alice@acme.example"); s != exit.StatusUndecided || !strings.Contains(err.Error(), "development issuer") {
		t.Errorf("token without a development issuer: status %d, %v", s, err)
	}
	if s, text, err := stop(); s != 0 || strings.Contains(text, "Created in") {
		t.Errorf("second start: status %d, %v\n%s", s, err, text)
	}
	s, err = status(t.Context(), NewUp(), io.Discard, "--data", data, "--listen", "127.0.0.1:0", "--public-url", "https://sigstore.acme.example")
	if s != exit.StatusUsage || !strings.Contains(err.Error(), url) || !strings.Contains(err.Error(), "https://sigstore.acme.example") {
		t.Errorf("another URL: status %d, %v", s, err)
	}

	// A newer schema is refused by name.
	state := filepath.Join(data, "state.json")
	content, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, bytes.Replace(content, []byte(`"schema": 1`), []byte(`"schema": 9`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := status(t.Context(), NewUp(), io.Discard, "--data", data, "--listen", "127.0.0.1:0"); s != exit.StatusUndecided || !strings.Contains(err.Error(), "schema 9") {
		t.Errorf("newer schema: status %d, %v", s, err)
	}
}

// Flags that are wrong are named, and nothing is made.
func TestUpFlags(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ args, want string }{
		{"--listen 127.0.0.1", "--listen"},
		{"--listen 0.0.0.0:0", "--public-url"},
		{"--listen :0", "--public-url"},
		{"--listen [::]:0", "--public-url"},
		{"--listen 0.0.0.0:0 --public-url http://127.0.0.1:7465 --insecure-dev-issuer", "--insecure-dev-issuer"},
		{"--listen 127.0.0.1:0 --public-url https://sigstore.acme.example --insecure-dev-issuer", "--insecure-dev-issuer"},
		{"--listen 127.0.0.1:0 --tuf-root-threshold 2", "--tuf-root-keys 1"},
		{"--listen 127.0.0.1:0 --tuf-root-keys 33", "--tuf-root-keys 33"},
		{"--oidc-issuer login.acme.example", "--oidc-issuer"},
		{"--oidc-issuer http://login.acme.example", "--oidc-issuer"},
		{"--oidc-issuer https://login.acme.example=", "--oidc-issuer"},
		{"--oidc-issuer https://login.acme.example --oidc-issuer https://login.acme.example=x", "--oidc-issuer"},
		{"--public-url https://sigstore.acme.example --oidc-issuer https://sigstore.acme.example", "--oidc-issuer"},
		{"--public-url sigstore.acme.example", "--public-url"},
		{"--public-url https://sigstore.acme.example/x", "--public-url"},
		{"--public-url ftp://sigstore.acme.example", "--public-url"},
		{"--tls-cert cert.pem", "--tls-key"},
		{"--tls-key key.pem", "--tls-cert"},
		{"--data=", "--data"},
		{"--unknown", "--unknown"},
		{"argument", "argument"},
	} {
		data := filepath.Join(dir, "data")
		s, err := status(t.Context(), NewUp(), io.Discard, append([]string{"--data", data}, strings.Fields(test.args)...)...)
		if s != exit.StatusUsage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("up %s: status %d, %v; want %q", test.args, s, err, test.want)
		}
		if _, err := os.Stat(data); err == nil {
			t.Fatalf("up %s made %s", test.args, data)
		}
	}
	s, err := status(t.Context(), NewUp(), io.Discard, "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--tls-cert", "no.pem", "--tls-key", "no.key")
	if s != exit.StatusUsage || !strings.Contains(err.Error(), "no.pem") {
		t.Errorf("missing TLS files: status %d, %v", s, err)
	}
}

package clients

import (
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/services/issuer/issuertest"
)

const alicePassword = "correct horse battery"

var (
	authorizeURL = regexp.MustCompile(`\s(http://127\.0\.0\.1:[0-9]+/issuer/authorize\?\S+)\s`)
	deviceURL    = regexp.MustCompile(`\s(http://127\.0\.0\.1:[0-9]+/device\?user_code=\S+)\s`)
	shownCode    = regexp.MustCompile(`<strong class="code long">([A-Z0-9]+)</strong>`)
)

// newLoginWorld is a Sigstore where alice has an account.
func newLoginWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, true)
	add := lab.Command{Program: lab.Program(), Stdin: []byte(alicePassword + "\n")}
	if r := add.Run(t, "user", "add", alice, "--password-stdin", "--data", filepath.Dir(filepath.Dir(w.Root))); r.Status != 0 {
		t.Fatal(r.Output())
	}
	return w
}

// signing are the arguments with which cosign signs a file for somebody who signs in.
func (w *world) signing(c cosign, flow, bundle, file string) []string {
	return args([]string{"sign-blob", "--yes"}, c.signBundle, []string{
		"--signing-config", w.Signing, "--trusted-root", w.Root, "--fulcio-auth-flow", flow, "--bundle", bundle, file,
	})
}

// browsers is a PATH on which cosign finds a browser to open, which does nothing: the test opens the address that cosign prints.
func (w *world) browsers(t *testing.T) string {
	t.Helper()
	dir := w.path("bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + dir
}

// signsIn runs cosign with somebody who signs in as it asks, wants success, and puts it on record. The signature must be alice's.
func (w *world) signsIn(t *testing.T, c cosign, what, flow, path string, person func(d *lab.Dialogue)) {
	t.Helper()
	bundle, file := w.call(w.path(strings.ReplaceAll(c.name+what, " ", "-")+".json"), "file.bundle.json"), w.file(t, "file", []byte("content\n"))
	arguments := w.signing(c, flow, bundle, file)
	command := c.Command
	command.Env = args(offline, command.Env, []string{path})
	d := command.Start(t, arguments...)
	person(d)
	if r := d.Wait(); r.Status != 0 {
		t.Fatalf("%s does not: %s\n%s", c.name, what, r.Output())
	}
	journal.add(c.name, what, w.line(c.client, arguments), "")
	verify := args([]string{"verify-blob"}, c.verifyBundle, []string{"--trusted-root", w.Root, "--bundle", bundle})
	if r := w.run(t, c.client, nil, args(verify, w.signer(mode{}, alice), []string{file})...); r.Status != 0 {
		t.Errorf("%s: what alice signed is not hers: %s", c.name, r.Output())
	}
	if r := w.run(t, c.client, nil, args(verify, w.signer(mode{}, bob), []string{file})...); r.Status == 0 {
		t.Errorf("%s: what alice signed is bob's", c.name)
	}
}

// People sign in as cosign asks them to: in a browser on this machine, by copying a code, or in a browser elsewhere.
func TestLogin(t *testing.T) {
	start(t)
	w := newLoginWorld(t)
	for _, c := range cosigns(t) {
		t.Run(c.name, func(t *testing.T) {
			w.signsIn(t, c, "signs a file, signing in with a browser", "normal", w.browsers(t), func(d *lab.Dialogue) {
				address := d.Find(t, authorizeURL)[1]
				p := issuertest.New(t, true).Open(address)
				if p = p.SignIn(alice, "a wrong password"); p.Status != http.StatusForbidden {
					t.Errorf("a wrong password: status %d", p.Status)
				}
				if p = p.SignIn(alice, alicePassword); p.Status != http.StatusOK || p.URL.Hostname() != "localhost" {
					t.Errorf("the browser ends at %s, status %d", p.URL, p.Status)
				}
			})
			nobrowser := "PATH=" + t.TempDir()
			w.signsIn(t, c, "signs a file, signing in with a code to paste", "normal", nobrowser, func(d *lab.Dialogue) {
				p := issuertest.New(t, false).Open(d.Find(t, authorizeURL)[1]).SignIn(alice, alicePassword)
				code := shownCode.FindStringSubmatch(p.Body)
				if code == nil {
					t.Fatalf("no code, status %d\n%s", p.Status, p.Body)
				}
				if _, err := d.Stdin.Write([]byte(html.UnescapeString(code[1]) + "\n")); err != nil {
					t.Error(err)
				}
			})
			w.signsIn(t, c, "signs a file, signing in on another machine", "device", nobrowser, func(d *lab.Dialogue) {
				p := issuertest.New(t, false).Open(d.Find(t, deviceURL)[1]).SignIn(alice, alicePassword)
				if p.Status != http.StatusOK {
					t.Errorf("status %d\n%s", p.Status, p.Body)
				}
			})
		})
	}
}

// A machine signs with its secret.
func TestClientCredentials(t *testing.T) {
	start(t)
	w := newLoginWorld(t)
	const machine = "ci@clients.127.0.0.1"
	secret := lab.Touchmark(t, 0, "client", "add", "ci", "--data", filepath.Dir(filepath.Dir(w.Root))).Stdout
	secretFile, file := w.file(t, "ci.secret", []byte(secret)), w.file(t, "file", []byte("content\n"))
	wrongFile := w.file(t, "wrong.secret", []byte("wrong\n"))
	for _, c := range cosigns(t) {
		bundle := w.call(w.path(strings.ReplaceAll(c.name, " ", "-")+".json"), "file.bundle.json")
		sign := w.signing(c, "client_credentials", bundle, file)
		const what = "signs a file, a machine with a secret"
		w.does(t, c.client, what, nil, args(sign, []string{"--oidc-client-id", "ci", "--oidc-client-secret-file", secretFile})...)
		w.refuses(t, c.client, what, "another secret", "the client or its secret is wrong", nil,
			args(sign, []string{"--oidc-client-id", "ci", "--oidc-client-secret-file", wrongFile})...)
		verify := args([]string{"verify-blob"}, c.verifyBundle, []string{"--trusted-root", w.Root, "--bundle", bundle})
		if r := w.run(t, c.client, nil, args(verify, w.signer(mode{}, machine), []string{file})...); r.Status != 0 {
			t.Errorf("%s: what the machine signed is not its own: %s", c.name, r.Output())
		}
		if r := w.run(t, c.client, nil, args(verify, w.signer(mode{}, alice), []string{file})...); r.Status == 0 {
			t.Errorf("%s: what the machine signed is alice's", c.name)
		}
	}
}

// A callback that does not bring back cosign's state is not taken: mallory, who signs in and sends her code to alice's cosign, would sign in her name.
func TestA101_StateOfAnotherLogin(t *testing.T) {
	start(t)
	w := newLoginWorld(t)
	for _, c := range cosigns(t) {
		command := c.Command
		command.Env = args(offline, command.Env, []string{w.browsers(t)})
		bundle := w.path(strings.ReplaceAll(c.name, " ", "-") + ".json")
		d := command.Start(t, w.signing(c, "normal", bundle, w.file(t, "file", []byte("content\n")))...)
		asked, err := url.Parse(d.Find(t, authorizeURL)[1])
		if err != nil {
			t.Fatal(err)
		}
		query := asked.Query()
		query.Set("state", "mallory's")
		asked.RawQuery = query.Encode()
		p := issuertest.New(t, false).Open(asked.String()).SignIn(alice, alicePassword)
		if !strings.Contains(p.Location, "state=mallory%27s") || !strings.Contains(p.Location, "code=") {
			t.Fatalf("%s: status %d, location %q", c.name, p.Status, p.Location)
		}
		if resp, err := http.Get(p.Location); err == nil {
			resp.Body.Close()
		}
		d.Find(t, regexp.MustCompile(`invalid state`))
		if err := d.Stdin.Close(); err != nil { // it asks for a code to be pasted
			t.Error(err)
		}
		if r := d.Wait(); r.Status == 0 {
			t.Errorf("%s signed: %s", c.name, r.Output())
		}
		if _, err := os.Stat(bundle); err == nil {
			t.Errorf("%s wrote a bundle", c.name)
		}
	}
}

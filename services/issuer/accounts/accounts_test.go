package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	alice = "alice@acme.example"
	good  = "correct horse battery"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), FileName), "https://sigstore.acme.example:7465")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUsers(t *testing.T) {
	s, ctx := open(t), context.Background()
	if _, err := s.CheckPassword(ctx, alice, good); err != ErrCredentials {
		t.Errorf("before there are accounts: %v", err)
	}
	if err := s.AddUser(alice, good, now); err != nil {
		t.Fatal(err)
	}
	if err := s.AddUser("Alice@acme.example", good, now); !errors.Is(err, ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	other, err := Open(s.path, "https://sigstore.acme.example:7465") // as another process has it
	if err != nil {
		t.Fatal(err)
	}
	for email, want := range map[string]string{alice: alice, "ALICE@acme.example": alice} {
		if got, err := other.CheckPassword(ctx, email, good); got != want || err != nil {
			t.Errorf("%s: %q, %v", email, got, err)
		}
	}
	for email, password := range map[string]string{
		alice: "wrong", "bob@acme.example": good, "": good, "alice@acme.example ": good, "alice@acme.example\x00": good, "\u017flice@acme.example": good,
	} {
		if _, err := other.CheckPassword(ctx, email, password); err != ErrCredentials {
			t.Errorf("%q: %v", email, err)
		}
	}
	if _, err := other.CheckPassword(ctx, alice, good+strings.Repeat("x", 1<<20)); err != ErrCredentials {
		t.Errorf("huge password: %v", err)
	}
	if err := other.SetPassword("alice@ACME.example", "another good one"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CheckPassword(ctx, alice, good); err != ErrCredentials {
		t.Errorf("old password: %v", err)
	}
	if _, err := s.CheckPassword(ctx, alice, "another good one"); err != nil {
		t.Errorf("new password: %v", err)
	}
	if users, err := s.Users(); err != nil || len(users) != 1 || users[0].Email != alice || !users[0].Created.Equal(now) {
		t.Errorf("%+v, %v", users, err)
	}
	if err := other.RemoveUser(alice); err != nil {
		t.Fatal(err)
	}
	if known, err := s.HasUser(alice); known || err != nil {
		t.Errorf("removed, but still there: %t, %v", known, err)
	}
	if err := s.RemoveUser(alice); !errors.Is(err, ErrUnknown) {
		t.Errorf("removed twice: %v", err)
	}
	if err := s.SetPassword(alice, good); !errors.Is(err, ErrUnknown) {
		t.Errorf("password of nobody: %v", err)
	}
}

func TestAccountsThatCannotBeAdded(t *testing.T) {
	s := open(t)
	for _, email := range []string{
		"", "alice", "@acme.example", "Alice <alice@acme.example>", "alice@acme.example\n", "ålice@acme.example", `"a"@acme.example`, strings.Repeat("a", 250) + "@acme.example",
		"ci@clients.sigstore.acme.example", "ci@Clients.sigstore.acme.example", // machines' own
	} {
		if err := s.AddUser(email, good, now); !errors.Is(err, ErrInput) {
			t.Errorf("%q: %v", email, err)
		}
	}
	for _, password := range []string{"", "short", strings.Repeat("x", MinPassword-1), strings.Repeat("x", MaxPassword+1), "line\nbreak and more", "\xff not UTF-8 at all"} {
		if err := s.AddUser(alice, password, now); !errors.Is(err, ErrInput) || strings.Contains(err.Error(), "break") {
			t.Errorf("password %.20q: %v", password, err)
		}
	}
	for _, name := range []string{"", "sigstore", "CI", "a.b", "a b", "a@b", "é", strings.Repeat("a", 65)} {
		if _, err := s.AddClient(name, now); !errors.Is(err, ErrInput) {
			t.Errorf("client %.20q: %v", name, err)
		}
	}
	if _, err := os.Stat(s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
	for _, password := range []string{strings.Repeat("x", MinPassword), strings.Repeat("x", MaxPassword), "pässwörd with ümlauts"} {
		if err := s.AddUser(alice, password, now); err != nil {
			t.Errorf("%.20q: %v", password, err)
		}
		if _, err := s.CheckPassword(context.Background(), alice, password); err != nil {
			t.Errorf("%.20q: %v", password, err)
		}
		if err := s.RemoveUser(alice); err != nil {
			t.Error(err)
		}
	}
}

func TestClients(t *testing.T) {
	s := open(t)
	secret, err := s.AddClient("ci", now)
	if err != nil {
		t.Fatal(err)
	}
	if len(secret) != 43 {
		t.Errorf("secret of %d characters", len(secret))
	}
	if _, err := s.AddClient("ci", now); !errors.Is(err, ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	second, err := s.AddClient("deploy", now)
	if err != nil || second == secret {
		t.Errorf("second client: the same secret %t, %v", second == secret, err)
	}
	if err := s.CheckSecret("ci", secret); err != nil {
		t.Error(err)
	}
	if err := s.CheckSecret("ci", secret+"\r\n"); err != nil {
		t.Errorf("with a line break: %v", err)
	}
	for name, with := range map[string]string{"ci": second, "deploy": secret, "nobody": secret, "": secret} {
		if err := s.CheckSecret(name, with); err != ErrCredentials {
			t.Errorf("%q: %v", name, err)
		}
	}
	// A digest of zeros, which stands in for one that does not exist, opens nothing.
	if err := s.CheckSecret("nobody", ""); err != ErrCredentials {
		t.Error(err)
	}
	if address := s.ClientAddress("ci"); address != "ci@clients.sigstore.acme.example" {
		t.Errorf("address %q", address)
	}
	if err := s.RemoveClient("ci"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveClient("ci"); !errors.Is(err, ErrUnknown) {
		t.Errorf("removed twice: %v", err)
	}
	if err := s.CheckSecret("ci", secret); err != ErrCredentials {
		t.Errorf("removed: %v", err)
	}
}

// Addresses of clients are addresses, whatever the issuer's host is.
func TestClientAddresses(t *testing.T) {
	for url, want := range map[string]string{
		"https://sigstore.acme.example": "ci@clients.sigstore.acme.example", "http://127.0.0.1:7465": "ci@clients.127.0.0.1", "http://localhost:1": "ci@clients.localhost",
		"http://[::1]:7465": "ci@clients.1", "http://[2001:db8::5]:7465": "ci@clients.2001-db8--5",
	} {
		s, err := Open(filepath.Join(t.TempDir(), FileName), url)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.ClientAddress("ci"); got != want || CheckAddress(got) != nil {
			t.Errorf("%s: %q, want %q; %v", url, got, want, CheckAddress(got))
		}
	}
}

// OPS-02, OPS-03: nobody else can read the file, and neither passwords nor secrets are in it.
func TestOPS02_FileIsPrivate(t *testing.T) {
	s := open(t)
	if err := s.AddUser(alice, good, now); err != nil {
		t.Fatal(err)
	}
	secret, err := s.AddClient("ci", now)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	content, err := os.ReadFile(s.path)
	if err != nil || bytes.Contains(content, []byte(good)) || bytes.Contains(content, []byte(secret)) {
		t.Errorf("the file holds a password or a secret: %s, %v", content, err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o644} {
		if err := os.Chmod(s.path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Users(); err == nil || !strings.Contains(err.Error(), s.path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	s := open(t)
	if err := s.AddUser(alice, good, now); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(old, new string) string {
		changed := strings.Replace(string(content), old, new, 1)
		if changed == string(content) {
			t.Fatalf("%q is not in the file", old)
		}
		return changed
	}
	for name, text := range map[string]string{
		"empty":            "",
		"array":            "[]",
		"more after it":    string(content) + "{}",
		"unknown field":    entry(`"schema": 1,`, `"schema": 1, "admin": true,`),
		"letter case":      entry(`"users"`, `"Users"`),
		"twice":            entry(`"schema": 1,`, `"schema": 1, "schema": 1,`),
		"newer":            entry(`"schema": 1`, `"schema": 2`),
		"no schema":        `{"users":[],"clients":[]}`,
		"bad address":      entry(alice, "alice"),
		"other algorithm":  entry("argon2id", "plain"),
		"all memory":       entry(`"memoryKiB": 19456`, `"memoryKiB": 4294967295`),
		"for ever":         entry(`"passes": 2`, `"passes": 4294967295`),
		"no lanes":         entry(`"lanes": 1`, `"lanes": 0`),
		"client's digest":  entry(`"clients": []`, `"clients": [{"name":"ci","secretSHA256":"","created":"2026-03-01T12:00:00Z"}]`),
		"client sigstore":  entry(`"clients": []`, `"clients": [{"name":"sigstore","secretSHA256":"`+strings.Repeat("A", 43)+`=","created":"2026-03-01T12:00:00Z"}]`),
		"more than limits": string(content) + strings.Repeat(" ", maxFile),
	} {
		if err := os.WriteFile(s.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"opening": func() error { _, err := Open(s.path, "https://acme.example"); return err }(),
			"asking":  func() error { _, err := s.CheckPassword(context.Background(), alice, good); return err }(),
			"adding":  func() error { _, err := s.AddClient("deploy", now); return err }(),
		} {
			if err == nil || errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), s.path) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if after, err := os.ReadFile(s.path); err != nil || string(after) != text {
			t.Errorf("%s: the file was altered", name)
		}
	}
	if err := os.WriteFile(s.path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CheckPassword(context.Background(), alice, good); err != nil {
		t.Errorf("the twin: %v", err)
	}
}

func TestOPS01_PlacesThatAreRefused(t *testing.T) {
	s := open(t)
	target := s.path + ".real"
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, s.path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users(); err == nil {
		t.Error("a symbolic link was followed")
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users(); err == nil {
		t.Error("a directory was read")
	}
}

// Changes at the same time, as by several commands, are all kept, and readers see whole files.
func TestChangesAtTheSameTime(t *testing.T) {
	s := open(t)
	const writers = 8
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			other, err := Open(s.path, "https://acme.example")
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := other.AddClient(fmt.Sprintf("ci-%d", n), now); err != nil {
				t.Error(err)
			}
			if _, err := s.Clients(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if clients, err := s.Clients(); err != nil || len(clients) != writers {
		t.Errorf("%d clients, %v", len(clients), err)
	}
}

func TestPatienceEnds(t *testing.T) {
	s := open(t)
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.CheckPassword(ctx, alice, good); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

package token_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/token"
)

// jwt is a token with this payload that nobody signed.
func jwt(payload string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestSubject(t *testing.T) {
	tests := []struct {
		payload, want string // want "" is an error
	}{
		{`{"sub":"s","email":"a@acme.example","email_verified":true}`, "a@acme.example"},
		{`{"sub":"s","email":"a@acme.example","email_verified":"true"}`, "a@acme.example"},
		{`{"sub":"s","email":"a@acme.example","email_verified":false}`, "s"},
		{`{"sub":"s","email":"a@acme.example","email_verified":"false"}`, "s"},
		{`{"sub":"s","email":"a@acme.example","email_verified":1}`, "s"},
		{`{"sub":"s","email":"a@acme.example"}`, "s"},
		{`{"sub":"s","EMAIL":"a@acme.example","email_verified":true}`, "s"},
		{`{"sub":"s","unknown":{"a":[1]}}`, "s"},
		{`{"sub":"s","sub":"t"}`, ""},
		{`{"sub":"s","email":"a@acme.example","email_verified":true,"email":"b@acme.example"}`, ""},
		{`{"sub":"s","x":{"a":1,"a":2}}`, ""},
		{`{"email":"a@acme.example"}`, ""},
		{`{"sub":["s"]}`, ""},
		{`{}`, ""},
		{`null`, ""},
		{`{"sub":"s"} trailing`, ""},
		{"{\"sub\":\"\xff\"}", ""},
	}
	for _, tt := range tests {
		got, err := token.Subject(jwt(tt.payload))
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.payload, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "a.b", "a.b.c.d", "a..c", "a.b!.c", "a.====.c", "<html>.x.y", strings.Repeat("a", token.MaxSize) + ".b.c"} {
		if got, err := token.Subject(bad); err == nil {
			t.Errorf("%.20q: %q, want an error", bad, got)
		}
	}
}

func TestGivenAndFile(t *testing.T) {
	want := jwt(`{"sub":"s"}`)
	if got, err := token.Given(want).Token(t.Context()); got != want || err != nil {
		t.Errorf("given: %q, %v", got, err)
	}
	if _, err := token.Given("secret").Token(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("given: error %v, want one that doesn't quote the token", err)
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(want+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := token.File(path).Token(t.Context()); got != want || err != nil {
		t.Errorf("file: %q, %v", got, err)
	}
	if err := os.WriteFile(path, make([]byte, token.MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{path, path + ".none", t.TempDir()} {
		if _, err := token.File(bad).Token(t.Context()); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("error %v, want one that names %s", err, bad)
		}
	}
	for text, want := range map[string]bool{want: true, path: false, "a.b.c": false, "./token": false} {
		if token.Looks(text) != want {
			t.Errorf("Looks(%q) is %t", text, !want)
		}
	}
}

func TestDevIssuer(t *testing.T) {
	want := jwt(`{"sub":"s"}`)
	answer := func(status int, body string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/dev/token" || r.URL.Query().Get("sub") != "alice+x@acme.example" {
				t.Errorf("request %s", r.URL)
			}
			w.WriteHeader(status)
			w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		return server
	}
	server := answer(200, want+"\n")
	if got, err := (token.DevIssuer{Server: server.URL + "/", Subject: "alice+x@acme.example"}).Token(t.Context()); got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, status := range []int{201, 400, 403, 404, 500} {
		server := answer(status, want)
		_, err := token.DevIssuer{Server: server.URL, Subject: "alice+x@acme.example"}.Token(t.Context())
		fe := (*token.FetchError)(nil)
		if !errors.As(err, &fe) || fe.Status != status || !strings.HasPrefix(fe.URL, server.URL) {
			t.Errorf("status %d: error %v", status, err)
		}
	}
	server = answer(200, strings.Repeat("a", token.MaxSize+1))
	if _, err := (token.DevIssuer{Server: server.URL, Subject: "alice+x@acme.example"}).Token(t.Context()); err == nil {
		t.Error("took an answer over the limit")
	}
	server.Close()
	_, err := token.DevIssuer{Server: server.URL, Subject: "alice"}.Token(t.Context())
	if fe := (*token.FetchError)(nil); !errors.As(err, &fe) || fe.Status != 0 {
		t.Errorf("closed server: error %v", err)
	}
}

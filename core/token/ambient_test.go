package token_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/token"
)

const ambientJWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjaSJ9.c2ln"

// program writes a shell script that records its arguments, and prints.
func program(t *testing.T, name, script string) (path, arguments string) {
	t.Helper()
	dir := t.TempDir()
	path, arguments = filepath.Join(dir, name), filepath.Join(dir, "arguments")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho \"$@\" > "+arguments+"\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, arguments
}

func TestAmbient(t *testing.T) {
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer request-token" || r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("api-version") != "2.0" {
			http.Error(w, `{"error":"not as GitHub has it"}`, http.StatusBadRequest)
			return
		}
		w.Write([]byte(`{"count":1,"value":"` + ambientJWT + `"}`))
	}))
	defer github.Close()
	buildkite, buildkiteArguments := program(t, "buildkite-agent", "echo "+ambientJWT)
	spire, spireArguments := program(t, "spire-agent", `echo '[{"svids":[{"hint":"","spiffe_id":"spiffe://acme.example/ci","svid":"`+ambientJWT+`"}]},{"bundles":{}}]'`)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(ambientJWT+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const actions = "ACTIONS_ID_TOKEN_REQUEST_"
	for _, tt := range []struct {
		name     string
		env      map[string]string
		exists   string
		programs map[string]string
		found    string
	}{
		{name: "nothing"},
		{"a variable", map[string]string{"TOUCHMARK_ID_TOKEN": ambientJWT}, "", nil, "TOUCHMARK_ID_TOKEN"},
		{"GitLab", map[string]string{"SIGSTORE_ID_TOKEN": ambientJWT + "\n"}, "", nil, "SIGSTORE_ID_TOKEN"},
		{"a file of one's own", map[string]string{"TOUCHMARK_ID_TOKEN_FILE": file}, "", nil, file},
		{"GitHub", map[string]string{actions + "URL": github.URL + "/idtoken?api-version=2.0", actions + "TOKEN": "request-token"}, "", nil, "GitHub Actions"},
		{"GitHub without the permission", map[string]string{actions + "URL": github.URL}, "", nil, ""},
		{"Buildkite", map[string]string{"BUILDKITE_AGENT_ACCESS_TOKEN": "x"}, "", map[string]string{"buildkite-agent": buildkite}, "Buildkite"},
		{"Buildkite without its program", map[string]string{"BUILDKITE_AGENT_ACCESS_TOKEN": "x"}, "", nil, ""},
		{"Kubernetes", nil, token.ProjectedFile, nil, token.ProjectedFile},
		{"SPIFFE", map[string]string{"SPIFFE_ENDPOINT_SOCKET": "unix:///run/spire/api.sock"}, "/run/spire/api.sock", map[string]string{"spire-agent": spire}, "/run/spire/api.sock"},
		{"SPIFFE, in the usual place", nil, "/tmp/spire-agent/public/api.sock", map[string]string{"spire-agent": spire}, "SPIFFE"},
		{"SPIFFE without SPIRE's program", nil, "/tmp/spire-agent/public/api.sock", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source, found := token.Ambient{
				Getenv: func(name string) string { return tt.env[name] },
				Exists: func(path string) bool { return path == tt.exists },
				LookPath: func(name string) (string, error) {
					if path, ok := tt.programs[name]; ok {
						return path, nil
					}
					return "", errors.New("not found")
				},
			}.Find()
			if !strings.Contains(found, tt.found) || (source == nil) != (tt.found == "") {
				t.Fatalf("found %q, want %q", found, tt.found)
			}
			if source == nil || tt.found == token.ProjectedFile { // which is not there
				return
			}
			if got, err := source.Token(t.Context()); err != nil || got != ambientJWT {
				t.Errorf("token %q, %v", got, err)
			}
		})
	}
	for path, want := range map[string]string{
		buildkiteArguments: "oidc request-token --audience sigstore\n",
		spireArguments:     "api fetch jwt -audience sigstore -socketPath /tmp/spire-agent/public/api.sock -output json\n",
	} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("arguments %q, %v, want %q", got, err, want)
		}
	}
}

// What a source that fails says holds the reason, and no token.
func TestAmbientThatFails(t *testing.T) {
	const secret = "eyJzM2NyZXQ"
	answers := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	script := func(text string) string { path, _ := program(t, "agent", text); return path }
	for _, tt := range []struct {
		name   string
		source token.Source
		want   string
	}{
		{"GitHub refuses", token.GitHub{URL: answers(403, `{"error":"no permission"}`), Bearer: secret}, `status 403: the server says "no permission"`},
		{"GitHub redirects", token.GitHub{URL: answers(302, ""), Bearer: secret}, "status 302"},
		{"GitHub says something else", token.GitHub{URL: answers(200, secret), Bearer: secret}, "not the JSON"},
		{"GitHub gives no JWT", token.GitHub{URL: answers(200, `{"value":"`+secret+`"}`)}, "not a JWT"},
		{"GitHub floods", token.GitHub{URL: answers(200, strings.Repeat(" ", token.MaxSize+1))}, "too long"},
		{"GitHub without TLS", token.GitHub{URL: "http://actions.example/", Bearer: secret}, "plain HTTP"},
		{"GitHub has no URL", token.GitHub{URL: "%", Bearer: secret}, "not a URL"},
		{"no program", token.Buildkite{Program: "/nonexistent/buildkite-agent"}, "buildkite-agent"},
		{"Buildkite fails", token.Buildkite{Program: script("echo " + secret + "; echo no such job >&2; exit 1")}, `exit status 1: it says "no such job"`},
		{"Buildkite prints no JWT", token.Buildkite{Program: script("echo " + secret)}, "not a JWT"},
		{"Buildkite floods", token.Buildkite{Program: script("head -c 200000 /dev/zero")}, "larger than"},
		{"SPIRE prints text", token.SPIRE{Program: script("echo " + secret)}, "not print a JWT-SVID"},
		{"SPIRE has no identity", token.SPIRE{Program: script(`echo '[{"svids":[]}]'`)}, "not print a JWT-SVID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.source.Token(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("token %q, error %v, want %q", got, err, tt.want)
			}
		})
	}
}

package stack

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// rawRequest sends a request line that no client would write, and returns the status and the body.
func rawRequest(t *testing.T, address, method, target string) (int, string) {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, target)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer response.Body.Close()
	return response.StatusCode, string(must(io.ReadAll(response.Body)))
}

func TestA103_PathsOfTwoSpellings(t *testing.T) {
	s := start(t, testConfig(t))
	// A canary behind the door, in the place of the services.
	reached := ""
	canary := plainPaths(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached = r.URL.Path }))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		canary.ServeHTTP(httptest.NewRecorder(), r)
		s.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")

	for path := range s.routes() {
		path = strings.TrimSuffix(path, "/")
		rest := strings.TrimPrefix(path, "/")
		for _, target := range []string{
			"/" + path, path + "//", "//" + rest, "/./" + rest, "/x/../" + rest, "/%2e/" + rest, "/%2E%2E/" + rest, "/x/%2e%2e/" + rest, "/%2f" + rest,
			path + ";x=y", path + "/..;/", path + "%00", path + "%20", path + "%2F", path + "/.", path + "/..", "/" + strings.Replace(rest, "/", "%2f", 1) + "%2f",
			"/%61" + rest[1:], path + "\\", "http://127.0.0.1/" + path,
		} {
			if target == path {
				continue
			}
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				reached = ""
				status, body := rawRequest(t, address, method, target)
				if (status != http.StatusBadRequest && status != http.StatusNotFound) || reached != "" {
					t.Errorf("%s %s: status %d, reached %q: %s", method, target, status, reached, body)
				}
			}
		}
	}
	for _, target := range []string{"api/v2/signingCert", "*", "?x", "\\api"} {
		if status, _ := rawRequest(t, address, http.MethodGet, target); status != http.StatusBadRequest && status != http.StatusNotFound {
			t.Errorf("GET %s: status %d", target, status)
		}
	}
	if status, _ := rawRequest(t, address, http.MethodConnect, "127.0.0.1:80"); status != http.StatusBadRequest {
		t.Errorf("CONNECT: status %d", status)
	}
	for _, target := range []string{"/healthz", "/healthz?x=%2e%2e;", "/api/v2/trustBundle", "http://127.0.0.1/healthz", "/ct/checkpoint"} {
		if status, body := rawRequest(t, address, http.MethodGet, target); status != http.StatusOK {
			t.Errorf("GET %s: status %d: %s", target, status, body)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := start(t, testConfig(t))
	url := serve(t, s)
	for _, path := range []string{"/", "/favicon.ico", "/api", "/api/", "/api/v3/signingCert", "/api/v2/signingCert/", "/api/v2/signingCert/x", "/healthz/", "/issuer", "/trust"} {
		status, body := get(t, url+path)
		var answer map[string]any
		if status != http.StatusNotFound || json.Unmarshal(body, &answer) != nil {
			t.Errorf("%s: status %d: %s", path, status, body)
		}
	}
	for _, path := range []string{"/healthz", "/trusted_root.json", "/issuer/keys", "/api/v2/trustBundle", "/api/v1/timestamp/certchain", "/.well-known/openid-configuration"} {
		request := must(http.NewRequest(http.MethodDelete, url+path, nil))
		response := must(http.DefaultClient.Do(request))
		_ = response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") == "" {
			t.Errorf("DELETE %s: status %d, Allow %q", path, response.StatusCode, response.Header.Get("Allow"))
		}
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	var lines lockedBuffer
	calls := 0
	handler := recovering(slog.New(slog.NewTextHandler(&lines, nil)), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls == 1 {
			panic("boom")
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}))
	for _, want := range []int{http.StatusInternalServerError, http.StatusOK} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/x", nil))
		if recorder.Code != want || strings.Contains(recorder.Body.String(), "boom") {
			t.Errorf("status %d, want %d: %s", recorder.Code, want, recorder.Body)
		}
	}
	if !strings.Contains(lines.String(), "boom") || !strings.Contains(lines.String(), "handler_test.go") {
		t.Errorf("the log lacks the panic and its place:\n%s", lines.String())
	}
}

func TestHealth(t *testing.T) {
	server := must(Listen(ServerConfig{Addr: "127.0.0.1:0"}))
	done := serveInBackground(t, server)
	if status, body := get(t, server.URL()+"/healthz"); status != http.StatusServiceUnavailable || !json.Valid(body) {
		t.Errorf("before there is a stack: status %d: %s", status, body)
	}
	s := start(t, testConfig(t))
	server.Use(s.Handler())
	if status, body := get(t, server.URL()+"/healthz"); status != http.StatusOK || string(body) != "{\"status\":\"ok\"}\n" {
		t.Errorf("ready: status %d: %s", status, body)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, server.URL()+"/healthz"); status != http.StatusServiceUnavailable || !json.Valid(body) {
		t.Errorf("after it was closed: status %d: %s", status, body)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
}

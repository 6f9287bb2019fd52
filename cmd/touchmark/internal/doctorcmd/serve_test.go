package doctorcmd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
)

// What was found last is served; who examines no more is not asked.
func TestDoctorServes(t *testing.T) {
	t.Parallel()
	r := &reports{err: errors.New("the first examination is under way")}
	server := httptest.NewServer(r.handler("127.0.0.1:7469"))
	defer server.Close()
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, path := range []string{"/metrics", "/healthz"} {
		if status, text := get(path); status != http.StatusServiceUnavailable || !strings.Contains(text, "under way") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.examine(ctx, time.Hour, func() (*doctor.Report, error) { cancel(); return new(doctor.Report), nil })
	report, err := r.latest()
	if err != nil {
		t.Fatal(err)
	}
	want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[report.ExitStatus() == 0]
	if status, text := get("/healthz"); status != want {
		t.Errorf("%d %s", status, text)
	}
	if status, text := get("/metrics"); status != http.StatusOK || !strings.Contains(text, "touchmark_enforcing") {
		t.Errorf("%d %s", status, text)
	}
	if err := (&serveFlags{every: time.Second}).run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "--every") {
		t.Errorf("%v", err)
	}
}

// A web page whose name resolves to the node reads none of the findings on loopback.
func TestDoctorServesNoWebPage(t *testing.T) {
	for address, want := range map[string]int{"127.0.0.1:7469": http.StatusMisdirectedRequest, "0.0.0.0:7469": http.StatusServiceUnavailable} {
		request := httptest.NewRequest(http.MethodGet, "http://evil.example:7469/metrics", nil)
		answer := httptest.NewRecorder()
		(&reports{err: errors.New("the first examination is under way")}).handler(address).ServeHTTP(answer, request)
		if answer.Code != want {
			t.Errorf("at %s: %d, want %d", address, answer.Code, want)
		}
	}
}

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
	server := httptest.NewServer(r.handler())
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

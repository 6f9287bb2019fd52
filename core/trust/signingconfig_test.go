package trust_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
)

func signingConfig() *trust.SigningConfig {
	window := trust.Window{Start: coretest.Start}
	service := func(url string, major uint32) []trust.Service {
		return []trust.Service{{URL: url, MajorAPIVersion: major, Window: window, Operator: "acme"}}
	}
	return &trust.SigningConfig{
		CAs: service("https://ca.example", 1), OIDC: service("https://issuer.example", 1),
		Logs: append(service("https://log.example", 1), service("https://log2.example", 2)...),
		TSAs: service("https://tsa.example/api/v1/timestamp", 1),
	}
}

func TestSigningConfigRoundTrip(t *testing.T) {
	want := signingConfig()
	want.Logs[0].Window.End = coretest.Start.Add(time.Hour)
	text, err := trust.FormatSigningConfig(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.ParseSigningConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("signing config changed (-want +got):\n%s", diff)
	}
}

func TestSigningConfigForm(t *testing.T) {
	text, err := trust.FormatSigningConfig(signingConfig())
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	for _, tt := range []struct{ name, old, new, want string }{
		{"unchanged", "x", "x", ""},
		{"older version", "signingconfig.v0.2", "signingconfig.v0.1", "mediaType"},
		{"unknown field", `{`, `{"extra":1,`, "malformed"},
		{"duplicate field", `{`, `{"caUrls":[],`, "malformed"},
		{"no URL", `"url": "https://ca.example"`, `"url": ""`, "caUrls[0].url"},
		{"no start", `"start"`, `"end"`, "validFor"},
		{"malformed start", `"start": "2025-03-01`, `"start": "2025-13-01`, "malformed"},
		{"trailing data", "}\n", "}{}\n", "malformed"},
	} {
		_, err := trust.ParseSigningConfig([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error is %v, want one that names %q", tt.name, err, tt.want)
		}
	}
	if _, err := trust.ParseSigningConfig(append(text, make([]byte, trust.MaxSize)...)); err == nil {
		t.Error("a signing config above the limit is accepted")
	}
}

// TestPick holds the order in which Sigstore's clients choose a service.
func TestPick(t *testing.T) {
	now := coretest.Start
	service := func(url string, major uint32, start, end time.Duration) trust.Service {
		s := trust.Service{URL: url, MajorAPIVersion: major, Window: trust.Window{Start: now.Add(start)}}
		if end != 0 {
			s.Window.End = now.Add(end)
		}
		return s
	}
	old, newer := service("old", 1, -2*time.Hour, 0), service("newer", 1, -time.Hour, 0)
	two := service("two", 2, -3*time.Hour, 0)
	future, past := service("future", 3, time.Hour, 0), service("past", 3, -2*time.Hour, -time.Hour)
	for _, tt := range []struct {
		name     string
		services []trust.Service
		majors   []uint32
		want     string // empty: none
	}{
		{"the only one", []trust.Service{old}, []uint32{1}, "old"},
		{"the newest", []trust.Service{old, newer}, []uint32{1}, "newer"},
		{"the newest, in the other order", []trust.Service{newer, old}, []uint32{1}, "newer"},
		{"the highest version", []trust.Service{newer, two, old}, []uint32{1, 2}, "two"},
		{"the highest that is known", []trust.Service{newer, two, old}, []uint32{1}, "newer"},
		{"neither future nor past", []trust.Service{future, past, old}, []uint32{1, 3}, "old"},
		{"valid from now on", []trust.Service{service("now", 1, 0, 0)}, []uint32{1}, "now"},
		{"valid until now", []trust.Service{{URL: "now", MajorAPIVersion: 1, Window: trust.Window{Start: now.Add(-1), End: now}}}, []uint32{1}, "now"},
		{"unknown version", []trust.Service{two}, []uint32{1}, ""},
		{"all in the future", []trust.Service{future}, []uint32{3}, ""},
		{"none", nil, []uint32{1}, ""},
		{"no version asked for", []trust.Service{old}, nil, ""},
	} {
		got, err := trust.Pick(tt.services, now, tt.majors...)
		if got.URL != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: picked %q (%v), want %q", tt.name, got.URL, err, tt.want)
		}
	}
}

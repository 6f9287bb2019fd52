package trust_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/trust"
)

// FuzzParseSigningConfig asserts that what is read can be written, and is then read as the same.
func FuzzParseSigningConfig(f *testing.F) {
	window := trust.Window{Start: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
	closed := trust.Window{Start: window.Start, End: window.Start.Add(time.Hour)}
	seed, err := trust.FormatSigningConfig(&trust.SigningConfig{
		CAs:  []trust.Service{{URL: "https://ca.example", MajorAPIVersion: 1, Window: window, Operator: "acme"}},
		OIDC: []trust.Service{{URL: "https://oidc.example", MajorAPIVersion: 1, Window: window}},
		Logs: []trust.Service{{URL: "https://log1.example", MajorAPIVersion: 1, Window: closed}, {URL: "https://log2.example", MajorAPIVersion: 2, Window: window}},
		TSAs: []trust.Service{{URL: "https://tsa.example", MajorAPIVersion: 1, Window: window}},
	})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := trust.ParseSigningConfig(seed); err != nil {
		f.Fatalf("the seed is not good any more: %v", err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := trust.ParseSigningConfig(text)
		if err != nil {
			return
		}
		raw, err := trust.FormatSigningConfig(first)
		if err != nil {
			t.Fatalf("read, but cannot be written: %v", err)
		}
		second, err := trust.ParseSigningConfig(raw)
		if err != nil {
			t.Fatalf("written, but cannot be read: %v\n%s", err, raw)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("changed (-first +second):\n%s", diff)
		}
	})
}

package countersign_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/countersign"
)

func TestReason(t *testing.T) {
	for text, want := range map[string]string{
		"refused by touchmark: it is not signed":        "refused by touchmark: it is not signed",
		"signed by \"mallory\"\nat C:\\x\x00\x1b[31m …": "signed by 'mallory' at C:/x??[31m .",
		"":               "refused by touchmark",
		" \n ":           "refused by touchmark",
		"sigstore-json":  "refused by touchmark",
		"simple-signing": "refused by touchmark",
		"müller":         "m?ller",
	} {
		if got := string(countersign.Reason(text)); got != "\x00"+want+"\n" {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzReason(f *testing.F) {
	for _, s := range []string{"refused", "sigstore-json", "a\x00b\nc", strings.Repeat("é\"", 1000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		blob := countersign.Reason(text)
		line, ok := bytes.CutPrefix(blob, []byte{0})
		line, newline := bytes.CutSuffix(line, []byte("\n"))
		if !ok || !newline || len(line) == 0 || len(line) > countersign.MaxReason {
			t.Fatalf("%q", blob)
		}
		for _, b := range line {
			if b < ' ' || b > '~' || b == '"' || b == '\\' {
				t.Fatalf("%q holds %#x", blob, b)
			}
		}
		if string(line) == "sigstore-json" || string(line) == "simple-signing" {
			t.Fatalf("%q is a format", blob)
		}
	})
}

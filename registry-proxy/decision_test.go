package registryproxy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
)

func TestPX35_LogValuesAreEscaped(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.answer(digestOf(t, img), gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeNotAcceptable, Digest: digestOf(t, img).String(),
		Reason: "signed by mallory\n{\"level\":\"INFO\",\"msg\":\"decision\",\"outcome\":\"admitted\"}\x1b[2J"})
	l.get("/v2/app/manifests/v1", "User-Agent", "x\ty", "X-Forwarded-For", "198.51.100.7")
	decisions := 0
	for line := range strings.Lines(l.logs.String()) {
		var entry struct{ Msg, Outcome, Repository, Digest, Tag, Code, Client string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("not a JSON line: %q", line)
		}
		if entry.Msg != "decision" {
			continue
		}
		decisions++
		if entry.Outcome != "refused" || entry.Repository != "registry.acme.example/app" || entry.Tag != "v1" || entry.Digest != digestOf(t, img).String() ||
			entry.Code != "signature-not-accepted" || entry.Client != "127.0.0.1" {
			t.Errorf("decision is %+v", entry)
		}
	}
	if decisions != 1 {
		t.Errorf("%d decisions were logged", decisions)
	}
}

package registryproxy

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

func TestPX35_LogValuesAreEscaped(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.answer(digestOf(t, img), gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeNotAcceptable, Digest: digestOf(t, img).String(),
		Reason: "signed by mallory\n{\"level\":\"INFO\",\"msg\":\"decision\",\"outcome\":\"admitted\"}\x1b[2J"})
	l.get("/v2/app/manifests/v1", "User-Agent", "x\ty", "X-Forwarded-For", "198.51.100.7")
	decisions := 0
	for line := range strings.Lines(l.logs.String()) {
		var entry struct{ Msg, Outcome, Repository, Digest, Tag, Code, Address string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("not a JSON line: %q", line)
		}
		if entry.Msg != "decision" {
			continue
		}
		decisions++
		if entry.Outcome != "refused" || entry.Repository != "registry.acme.example/app" || entry.Tag != "v1" || entry.Digest != digestOf(t, img).String() ||
			entry.Code != "signature-not-accepted" || entry.Address != "127.0.0.1" {
			t.Errorf("decision is %+v", entry)
		}
	}
	if decisions != 1 {
		t.Errorf("%d decisions were logged", decisions)
	}
}

// The log on standard error and the decision log have one word for each thing.
func TestLogsHaveTheSameWords(t *testing.T) {
	words := map[string]bool{"time": true, "level": true, "msg": true, "blob": true}
	for i := range reflect.TypeFor[decisions.Decision]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[decisions.Decision]().Field(i).Tag.Get("json"), ",")
		words[name] = true
	}
	l := newLab(t)
	signed, unsigned := l.pushImage("app:signed"), l.pushImage("app:unsigned")
	l.admitter.sign(digestOf(t, signed))
	l.want(l.get("/v2/app/manifests/signed"), http.StatusOK, "")
	l.want(l.get("/v2/app/manifests/unsigned"), http.StatusForbidden, codeDenied)
	l.want(l.get("/v2/app/blobs/"+layerDigests(t, unsigned)[0].String()), http.StatusForbidden, codeDenied)
	logged := 0
	for line := range strings.Lines(l.logs.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry["msg"] != "decision" {
			continue
		}
		logged++
		for word := range entry {
			if !words[word] {
				t.Errorf("%s is no word of the decision log", word)
			}
		}
		for _, word := range []string{"address", "milliseconds", "who"} {
			if _, ok := entry[word]; !ok {
				t.Errorf("%s is missing in %s", word, line)
			}
		}
	}
	if logged != 3 {
		t.Errorf("%d decisions were logged", logged)
	}
}

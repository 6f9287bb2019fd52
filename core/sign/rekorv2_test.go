package sign_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// onRekorV2 is the same world with the signing config that names the log's Rekor v2 API only.
func (w world) onRekorV2(tb testing.TB) world {
	tb.Helper()
	resp, err := http.Get(w.url + "/signing_config_rekor_v2.v0.2.json")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if w.signing, err = trust.ParseSigningConfig(text); err != nil {
		tb.Fatal(err)
	}
	return w
}

func TestRekorV2Image(t *testing.T) {
	w := newWorld(t).onRekorV2(t)
	key := generate(t, keys.P384)
	for name, config := range map[string]sign.Config{"token": w.asAlice(), "key": {Signing: w.signing, Root: w.root, Key: key}} {
		by := keyless(t, alice, w.url)
		if config.Key != nil {
			by = verify.Keyed(verify.Key{Public: key.Public()})
		}
		ref, digests := pushIndex(t, true)
		result, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Nobody could verify a .sig of this log, so there is none, and the result says why.
		if !strings.Contains(result.NoLegacy, "Rekor v1") || !result.Verified || len(result.Signatures) != 3 {
			t.Errorf("%s: result %+v", name, result)
		}
		for i, d := range digests {
			if s := result.Signatures[i]; s.Legacy != nil || s.Bundle.Timestamp == nil || s.Bundle.Log != w.url {
				t.Errorf("%s: signature %+v", name, s)
			}
			checkSigned(t, ref, d, w.root, by, 1)
			found, err := attach.Find(t.Context(), source(ref), d)
			if err != nil {
				t.Fatal(err)
			}
			entries := found.Evidence[0].Evidence.Entries
			if len(entries) != 1 || entries[0].Kind != "hashedrekord" || entries[0].Version != "0.0.2" || entries[0].SET != nil {
				t.Errorf("%s: entries %+v", name, entries)
			}
		}
		// No .sig was asked for: nothing to excuse.
		ref, _ = pushIndex(t, true)
		if result, err = sign.Image(t.Context(), config, ref, source(ref), sign.Options{SkipLegacy: true}); err != nil || result.NoLegacy != "" {
			t.Errorf("%s, without .sig: %+v, %v", name, result, err)
		}
	}
}

// Where both versions are offered, bundles go to v2, and .sig signatures to v1.
func TestRekorV2AndV1(t *testing.T) {
	w := newWorld(t)
	both := *w.signing
	both.Logs = append(append([]trust.Service(nil), w.signing.Logs...), w.onRekorV2(t).signing.Logs...)
	w.signing = &both
	ref, digests := pushIndex(t, true)
	result, err := sign.Image(t.Context(), w.asAlice(), ref, source(ref), sign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if result.NoLegacy != "" {
		t.Errorf("no .sig: %s", result.NoLegacy)
	}
	checkSigned(t, ref, digests[2], w.root, keyless(t, alice, w.url), 2)
	found, err := attach.Find(t.Context(), source(ref), digests[2])
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, located := range found.Evidence {
		versions[string(located.Evidence.Form)] = located.Evidence.Entries[0].Version
	}
	if versions["bundle"] != "0.0.2" || versions["legacy"] == "0.0.2" {
		t.Errorf("versions of log entries: %v", versions)
	}
}

func TestRekorV2BlobAndStatement(t *testing.T) {
	w := newWorld(t).onRekorV2(t)
	rsa := generate(t, keys.RSA3072)
	for name, config := range map[string]sign.Config{"token": w.asAlice(), "RSA": {Signing: w.signing, Root: w.root, Key: rsa}} {
		by := keyless(t, alice, w.url)
		if config.Key != nil {
			by = verify.Keyed(verify.Key{Public: rsa.Public()})
		}
		for range 2 { // an RSA signature again: the log has that entry
			signed, err := sign.Blob(t.Context(), config, []byte("content"))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			w.check(t, signed, "content", "", by, "")
			w.check(t, signed, "other content", "", by, verify.CodeWrongArtifact)
		}
		signed, err := sign.Statement(t.Context(), config, coretest.Statement(sha256.Sum256([]byte("content")), provenance, ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.check(t, signed, "content", provenance, by, "")
	}
}

// What can't be signed with a log of Rekor v2 is refused before anything is sent.
func TestRekorV2ConfigIsChecked(t *testing.T) {
	w := newWorld(t).onRekorV2(t)
	ref, _ := pushIndex(t, true)
	ed25519 := sign.Config{Signing: w.signing, Root: w.root, Key: generate(t, keys.Ed25519)}
	if _, err := sign.Image(t.Context(), ed25519, ref, source(ref), sign.Options{SkipLegacy: true}); err == nil || !strings.Contains(err.Error(), "Ed25519") {
		t.Errorf("Ed25519: error %v", err)
	}
	timeless := *w.signing
	timeless.TSAs = nil
	config := w.asAlice()
	config.Signing = &timeless
	if _, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{}); err == nil || !strings.Contains(err.Error(), "tells no time") {
		t.Errorf("no timestamp authority: error %v", err)
	}
}

// Every way in which the log can fail or lie: a typed error, and nothing is written.
func TestRekorV2LogsThatFail(t *testing.T) {
	w := newWorld(t).onRekorV2(t)
	replace := func(pattern, with string) func([]byte) []byte {
		return func(b []byte) []byte { return regexp.MustCompile(pattern).ReplaceAll(b, []byte(with)) }
	}
	const entries = "/api/v2/log/entries"
	for _, tt := range []struct {
		name   string
		status int                 // instead of the answer, if not 0
		change func([]byte) []byte // of the answer
		want   string
	}{
		{name: "down", status: 503, want: "status 503"},
		{name: "200", status: 200, want: "status 200"},
		{name: "conflict", status: 409, want: "status 409"},
		{name: "redirect", status: 307, want: "status 307"},
		{name: "nonsense", change: func([]byte) []byte { return []byte("<html>") }, want: "malformed JSON"},
		{name: "nothing", change: func([]byte) []byte { return []byte("{}") }, want: "logId.keyId"},
		{name: "no proof", change: replace(`"inclusionProof":\{.*\},"canon`, `"canon`), want: "inclusionProof is missing"},
		{name: "no checkpoint", change: replace(`"checkpoint":\{[^}]*\}`, `"checkpoint":{}`), want: "checkpoint is missing"},
		{name: "other body", change: replace(`"canonicalizedBody":"`, `"canonicalizedBody":"AAAA`), want: "not that of the entry"},
		{name: "other kind", change: replace(`"kind":"hashedrekord"`, `"kind":"dsse"`), want: "it is about a dsse"},
		{name: "other version", change: replace(`"version":"0.0.2"`, `"version":"0.0.1"`), want: "0.0.1"},
		{name: "a time", change: replace(`^\{`, `{"integratedTime":"1700000000",`), want: "promise or a time"},
		{name: "a promise", change: replace(`^\{`, `{"inclusionPromise":{"signedEntryTimestamp":"AAAA"},`), want: "promise or a time"},
		{name: "other index in the proof", change: replace(`^\{"logIndex":"`, `{"logIndex":"1`), want: "the proof is for index"},
		{name: "other index", change: replace(`"logIndex":"`, `"logIndex":"1`), want: "checking the bundle before writing it"},
		{name: "other root", change: replace(`"rootHash":"`, `"rootHash":"AAAA`), want: "checking the bundle before writing it"},
		{name: "other log", change: replace(`"keyId":"[^"]*"`, `"keyId":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`), want: "checking the bundle before writing it"},
		{name: "checkpoint unsigned", change: replace(`\\n\\n— [^"]*`, `\n\n— 127.0.0.1 AAAA\n`), want: "checking the bundle before writing it"},
		{name: "endless", change: func([]byte) []byte { return bytes.Repeat([]byte(" "), 2<<20) }, want: "larger than"},
		{name: "admitted twin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, signing := behind(t, w, entries, tt.status, tt.change)
			ref, digests := pushIndex(t, true)
			config := w.asAlice()
			config.Signing = signing
			_, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{SkipPlatforms: true})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			checkSigned(t, ref, digests[2], w.root, keyless(t, alice, w.url), 0)
		})
	}
}

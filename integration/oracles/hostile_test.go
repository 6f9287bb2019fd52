package oracles

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
	"github.com/touchmark/touchmark/core/verify"
)

// hostile are inputs of about a megabyte, or of the size that is just accepted, that are dear to those who read them carelessly.
func hostile() map[string][]byte {
	const size = 1 << 20
	filled := func(before, unit, after string) []byte {
		n := (size - len(before) - len(after)) / len(unit)
		return []byte(before + strings.Repeat(unit, n) + after)
	}
	numbered := func(before, unit, after string) []byte {
		var b strings.Builder
		b.WriteString(before)
		for i := 0; b.Len() < size-len(after)-256; i++ {
			fmt.Fprintf(&b, unit, i)
		}
		return []byte(b.String() + after)
	}
	legacy := func(body []byte) []byte {
		text := base64.StdEncoding.EncodeToString(body[:size*2/3])
		return fmt.Appendf(nil, `{"SignedEntryTimestamp":"AAAA","Payload":{"body":"%s","integratedTime":1,"logIndex":1,"logID":"%064d"}}`, text, 0)
	}
	entry := `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"tlogEntries":[`
	return map[string][]byte{
		"ten megabytes of brackets":        bytes.Repeat([]byte("["), 10<<20),
		"a megabyte of brackets":           filled("", "[", ""),
		"a megabyte of braces":             filled("", `{"a":`, ""),
		"empty log entries":                filled(entry, "{},", "{}]}}"),
		"null log entries":                 filled(entry, "null,", "null]}}"),
		"empty timestamps":                 filled(`{"verificationMaterial":{"timestampVerificationData":{"rfc3161Timestamps":[`, "{},", "{}]}}}"),
		"empty certificates":               filled(`{"verificationMaterial":{"x509CertificateChain":{"certificates":[`, "{},", "{}]}}}"),
		"one member, again and again":      filled("{", `"mediaType":"",`, `"mediaType":""}`),
		"unknown members":                  filled("{", `"x":0,`, `"x":0}`),
		"distinct members":                 numbered(`{`, `"%06d":0,`, `"x":0}`),
		"distinct long members":            numbered(`{`, `"%0200d":0,`, `"x":0}`),
		"distinct members in another":      numbered(`{"predicate":{`, `"%06d":0,`, `"x":0}}`),
		"long members in one another":      numbered(``, `{"%0240d":`, ``),
		"as many entries as tokens":        []byte(entry + strings.Repeat("{},", 8000) + "{}]}}"),
		"as many hashes as tokens":         []byte(entry + `{"inclusionProof":{"hashes":[` + strings.Repeat(`"",`, 15900) + `""]}}]}}`),
		"many subjects":                    filled(`{"_type":"https://in-toto.io/Statement/v1","subject":[`, `{"digest":{"a":""}},`, `{}]}`),
		"many digests":                     numbered(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{`, `"%05d":"",`, `"x":""}}]}`),
		"members of a legacy log entry":    legacy(numbered(`{`, `"%06d":0,`, `"x":0}`)),
		"signatures of a legacy log entry": legacy(filled(`{"spec":{"content":{"envelope":{"signatures":[`, "{},", "{}]}}}}")),
		"signatures in a log's body":       filled(`{"spec":{"content":{"envelope":{"signatures":[`, "{},", "{}]}}}}"),
		"a long name":                      filled(`{"`, "a", `":1}`),
		"a long number":                    filled(`{"tlogs":[`, "9", `]}`),
		"a long text":                      filled(`{"mediaType":"`, "a", `"}`),
		"escapes":                          filled(`{"mediaType":"`, `\u0041`, `"}`),
		"a long payload":                   filled(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{"payload":"`, "AAAA", `"}}`),
		"spaces":                           filled("", " ", "{}"),
		"invalid UTF-8":                    filled(`{"mediaType":"`, "\xff", `"}`),
		"a byte order mark":                filled("\xef\xbb\xbf{\"mediaType\":\"", "a", `"}`),
		"nested DER":                       bytes.Repeat([]byte{0x30, 0x80}, size/2),
		"DER whose length lies":            filled("\x30\x84\x7f\xff\xff\xff", "\x30\x03\x02\x01\x01", ""),
		"trusted logs":                     filled(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[`, "{},", "{}]}"),
		"trusted authorities":              filled(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[`, "{},", "{}]}"),
		"PEM boundaries":                   filled("", "-----BEGIN CERTIFICATE-----", ""),
	}
}

// parsers are all that reads what strangers wrote.
func parsers() map[string]func(untrusted []byte) error {
	return map[string]func([]byte) error{
		"bundle": func(b []byte) error { _, err := bundle.Parse(b); return err },
		"legacy signature": func(b []byte) error {
			_, err := bundle.ParseLegacy(b, map[string]string{"dev.cosignproject.cosign/signature": "AAAA"})
			return err
		},
		"legacy annotation": func(b []byte) error {
			_, err := bundle.ParseLegacy([]byte("{}"), map[string]string{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/bundle": string(b)})
			return err
		},
		"legacy certificate": func(b []byte) error {
			_, err := bundle.ParseLegacy([]byte("{}"), map[string]string{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/certificate": string(b)})
			return err
		},
		"legacy attestation": func(b []byte) error { _, err := bundle.ParseLegacyAttestation(b, nil); return err },
		"log entry":          func(b []byte) error { _, err := bundle.ParseEntry(b); return err },
		"trusted root":       func(b []byte) error { _, err := trust.Parse("root", b); return err },
		"signing config":     func(b []byte) error { _, err := trust.ParseSigningConfig(b); return err },
		"timestamp":          func(b []byte) error { _, err := tsp.Parse(b); return err },
		"simple signing":     func(b []byte) error { _, err := bundle.ParseSimpleSigning(b); return err },
	}
}

// Whoever writes evidence cannot make a verifier take more memory than twice its size and a megabyte. The bytes are counted that are allocated in all, not those that are
// in use at a time, so that the machine's mood does not matter; BenchmarkHostile measures the time.
func TestLIB34_HostileInputsTakeLittleMemory(t *testing.T) {
	for what, read := range parsers() {
		for name, text := range hostile() {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := read(text)
			runtime.ReadMemStats(&after)
			got, limit := after.TotalAlloc-before.TotalAlloc, uint64(2*len(text)+1<<20)
			if strings.HasPrefix(what, "legacy ") && what != "legacy signature" && what != "legacy attestation" {
				limit += uint64(len(text)) // the test's own copy into a string
			}
			if got > limit {
				t.Errorf("%s, %s: %d bytes allocated for %d, want at most %d (%v)", what, name, got, len(text), limit, short(err))
			}
			if err == nil && what != "legacy signature" {
				t.Errorf("%s, %s: accepted", what, name)
			}
		}
	}
}

func short(err error) string {
	text := fmt.Sprint(err)
	return text[:min(len(text), 200)]
}

// A statement is signed before it is read, but by anybody who has a key: the same holds for it.
func TestLIB34_HostileStatementsTakeLittleMemory(t *testing.T) {
	for name, text := range hostile() {
		evidence := &bundle.Evidence{Envelope: &bundle.Envelope{PayloadType: "application/vnd.in-toto+json", Payload: text, Signature: []byte("x")}}
		key := newKeys(t)[p256]
		in := verify.Input{
			Evidence: evidence, Artifact: verify.SHA256([32]byte{1}), Signer: verify.Keyed(verify.Key{Name: "key", Public: key.Public()}), InsecureIgnoreLog: true,
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := verify.Verify(in)
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(2*len(text)+1<<20); got > limit {
			t.Errorf("%s: %d bytes allocated for %d, want at most %d (%v)", name, got, len(text), limit, short(err))
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// BenchmarkHostile reports milliseconds per megabyte for the dearest input of each parser. 100 is too much.
func BenchmarkHostile(b *testing.B) {
	for what, read := range parsers() {
		for name, text := range hostile() {
			b.Run(what+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_ = read(text)
				}
				perMegabyte := float64(b.Elapsed().Microseconds()) / 1e3 / float64(b.N) / (float64(len(text)) / (1 << 20))
				b.ReportMetric(perMegabyte, "ms/MiB")
			})
		}
	}
}

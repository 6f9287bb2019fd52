package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
)

// certificates are compared by what they say.
var sameCertificate = cmp.Comparer(func(a, b *x509.Certificate) bool { return a.Equal(b) })

func TestRoundTrip(t *testing.T) {
	want := coretest.New(t).Root()
	want.Logs[1].Window.End = coretest.Start.Add(time.Hour)
	want.TimestampAuthorities[0].Window.End = coretest.Start.Add(1500 * time.Millisecond)
	text := coretest.FormatRoot(t, want)
	got, err := trust.Parse("test", text)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != sha256.Sum256(text) {
		t.Error("the digest is not the file's")
	}
	want.Digest = got.Digest
	unremembered := cmpopts.IgnoreUnexported(trust.CertificateAuthority{}, tsp.Authority{})
	if diff := cmp.Diff(want, got, sameCertificate, unremembered); diff != "" {
		t.Errorf("root changed (-want +got):\n%s", diff)
	}
	if again := coretest.FormatRoot(t, got); !bytes.Equal(text, again) {
		t.Errorf("a root is written in two ways:\n%s\n%s", text, again)
	}
}

func TestFind(t *testing.T) {
	root := coretest.New(t).TrustedRoot(t)
	for i := range root.Logs {
		if got := root.FindLog(root.Logs[i].ID); got != &root.Logs[i] {
			t.Errorf("log %d is not found", i)
		}
		if root.FindCTLog(root.Logs[i].ID) != nil {
			t.Errorf("signature log %d is found among the certificate logs", i)
		}
	}
	if root.FindCTLog(root.CTLogs[0].ID) != &root.CTLogs[0] || root.FindLog(root.CTLogs[0].ID) != nil {
		t.Error("the certificate log is not found, or among the signature logs")
	}
	if root.FindLog([32]byte{}) != nil {
		t.Error("an unknown log is found")
	}
}

// TestTUF20_A029_ClosedInterval: both ends of a window are inside.
func TestTUF20_A029_ClosedInterval(t *testing.T) {
	start, end := coretest.Start, coretest.Start.Add(time.Hour)
	for _, tt := range []struct {
		window trust.Window
		at     time.Time
		want   bool
	}{
		{trust.Window{Start: start, End: end}, start, true},
		{trust.Window{Start: start, End: end}, end, true},
		{trust.Window{Start: start, End: end}, start.Add(-time.Nanosecond), false},
		{trust.Window{Start: start, End: end}, end.Add(time.Nanosecond), false},
		{trust.Window{Start: start}, end.AddDate(1000, 0, 0), true},
		{trust.Window{Start: start}, start.Add(-time.Second), false},
		{trust.Window{Start: start, End: start}, start, true},
		{trust.Window{Start: start, End: end}, start.In(time.FixedZone("", 3600)), true},
	} {
		if got := tt.window.Contains(tt.at); got != tt.want {
			t.Errorf("%s contains %s: %v, want %v", tt.window, tt.at, got, tt.want)
		}
	}
}

// object is a trusted root as JSON that a test may change.
type object map[string]any

func (o object) at(path ...any) object {
	var v any = map[string]any(o)
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v.(map[string]any)
}

func decode(tb testing.TB, text []byte) object {
	tb.Helper()
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		tb.Fatal(err)
	}
	return o
}

func encode(tb testing.TB, o object) []byte {
	tb.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func spki(tb testing.TB, pub any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func spkiHash(tb testing.TB, pub any) []byte {
	sum := sha256.Sum256(spki(tb, pub))
	return sum[:]
}

func flipped(id [32]byte) []byte {
	id[31] ^= 1
	return id[:]
}

var (
	log0   = []any{"tlogs", 0}
	log1   = []any{"tlogs", 1}
	key0   = []any{"tlogs", 0, "publicKey"}
	valid0 = []any{"tlogs", 0, "publicKey", "validFor"}
	ct0    = []any{"ctlogs", 0}
	ctKey  = []any{"ctlogs", 0, "publicKey"}
	ca0    = []any{"certificateAuthorities", 0}
	tsa0   = []any{"timestampAuthorities", 0}
)

func set(path []any, key string, value any) func(object) {
	return func(o object) { o.at(path...)[key] = value }
}

func drop(path []any, key string) func(object) {
	return func(o object) { delete(o.at(path...), key) }
}

// chain changes a certificate chain.
func chain(path []any, change func([]any) []any) func(object) {
	return func(o object) {
		c := o.at(append(slices.Clone(path), "certChain")...)
		c["certificates"] = change(c["certificates"].([]any))
	}
}

// TestA036_A037_TUF20_Form changes one thing in a good trusted root.
func TestA036_A037_TUF20_Form(t *testing.T) {
	s := coretest.New(t)
	good := s.TrustedRootJSON(t)
	if _, err := trust.Parse("test", good); err != nil {
		t.Fatalf("the good twin is refused: %v", err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := s.Clock.Now()
	self := coretest.Issue(t, &x509.Certificate{
		NotBefore: now, NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}, nil, s.CA.Key.Public(), s.CA.Key)
	type mod = func(object)
	tests := []struct {
		name   string
		change mod
		want   string // in the error; empty if it is still accepted
	}{
		{"unchanged", func(object) {}, ""},
		{"version 0.2", set(nil, "mediaType", "application/vnd.dev.sigstore.trustedroot+json;version=0.2"), "mediaType"},
		{"no version", drop(nil, "mediaType"), "mediaType"},
		{"unknown field", set(nil, "extra", 1), "malformed"},
		{"unknown field below", set(log0, "extra", 1), "malformed"},
		{"a log's ID one bit off", set(log0, "logId", map[string]any{"keyId": flipped(s.V1.ID)}), "is not the ID of its key"},
		{"a log with the other log's ID", set(log0, "logId", map[string]any{"keyId": s.CTLog.ID[:]}), "is not the ID of its key"},
		{"a certificate log's ID one bit off", set(ct0, "logId", map[string]any{"keyId": flipped(s.CTLog.ID)}), "ctlogs[0]: logId"},
		{"an Ed25519 log under the SHA-256 of its key", set(log1, "logId", map[string]any{"keyId": spkiHash(t, s.V2.Key.Public())}), ""},
		{"an Ed25519 log under its note key ID for another host", set(log1, "baseUrl", "https://other.example"), "tlogs[1]: logId"},
		{"an Ed25519 log at another path of its host", set(log1, "baseUrl", s.V2.BaseURL+"/x"), ""},
		{"no logs at all", drop(nil, "tlogs"), ""},
		{"no certificate authorities", drop(nil, "certificateAuthorities"), ""},
		{"no timestamp authorities", drop(nil, "timestampAuthorities"), ""},

		{"no validity", drop(key0, "validFor"), "tlogs[0]: publicKey.validFor: start"},
		{"no start", drop(valid0, "start"), "tlogs[0]: publicKey.validFor: start"},
		{"start null", set(valid0, "start", nil), "start"},
		{"start in month 13", set(valid0, "start", "2026-13-01T00:00:00Z"), "malformed"},
		{"start is a date", set(valid0, "start", "2026-01-01"), "malformed"},
		{"start empty", set(valid0, "start", ""), "malformed"},
		{"start a number", set(valid0, "start", 1700000000), "malformed"},
		{"start without zone", set(valid0, "start", "2026-01-01T00:00:00"), "malformed"},
		{"start in year 10000", set(valid0, "start", "10000-01-01T00:00:00Z"), "malformed"},
		{"start with a comma", set(valid0, "start", "2025-01-01T00:00:00,5Z"), "malformed"},
		{"start at an hour of one digit", set(valid0, "start", "2025-01-01T0:00:00Z"), "malformed"},
		{"start with a fraction", set(valid0, "start", "2025-01-01T00:00:00.123456789+02:00"), ""},
		{"end that would mean none", func(o object) {
			v := o.at(valid0...)
			v["start"], v["end"] = "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"
		}, "end"},
		{"end before start", set(valid0, "end", "2000-01-01T00:00:00Z"), "end"},
		{"end malformed", set(valid0, "end", "2026-13-01T00:00:00Z"), "malformed"},
		{"end empty", set(valid0, "end", ""), "malformed"},
		{"end equal to start", func(o object) { v := o.at(valid0...); v["end"] = v["start"] }, ""},
		{"end null", set(valid0, "end", nil), ""},
		{"validity null", set(key0, "validFor", nil), "start"},
		{"no validity of an authority", drop(ca0, "validFor"), "certificateAuthorities[0]: validFor: start"},
		{"no validity of a timestamp authority", drop(tsa0, "validFor"), "timestampAuthorities[0]: validFor: start"},
		{"no validity of a certificate log", drop(ctKey, "validFor"), "ctlogs[0]: publicKey.validFor: start"},

		{"no log ID", drop(log0, "logId"), "logId"},
		{"log ID null", set(log0, "logId", nil), "logId"},
		{"short log ID", set(log0, "logId", map[string]any{"keyId": make([]byte, 4)}), "logId"},
		{"the same log twice", func(o object) { o["tlogs"] = append(o["tlogs"].([]any), o["tlogs"].([]any)[0]) }, "twice"},
		{"the same certificate log twice", func(o object) { o["ctlogs"] = append(o["ctlogs"].([]any), o["ctlogs"].([]any)[0]) }, "twice"},
		{"one log under another name", func(o object) {
			var other map[string]any
			raw, _ := json.Marshal(o["tlogs"].([]any)[0])
			if err := json.Unmarshal(raw, &other); err != nil {
				t.Fatal(err)
			}
			other["baseUrl"] = "https://other.example"
			o["tlogs"] = append(o["tlogs"].([]any), other)
		}, "twice"},
		{"log null", set(nil, "tlogs", []any{nil}), "malformed"},
		{"65 logs", func(o object) { o["tlogs"] = slices.Repeat(o["tlogs"].([]any)[:1], 65) }, "limit"},
		{"65 authorities", func(o object) {
			o["certificateAuthorities"] = slices.Repeat(o["certificateAuthorities"].([]any), 65)
		}, "limit"},
		{"no hash algorithm", drop(log0, "hashAlgorithm"), "hashAlgorithm"},
		{"SHA-512", set(log0, "hashAlgorithm", "SHA2_512"), "hashAlgorithm"},
		{"SHA-512 in a certificate log", set(ct0, "hashAlgorithm", "SHA2_512"), "hashAlgorithm"},
		{"hash algorithm of the future", set(log0, "hashAlgorithm", "SHA9"), "hashAlgorithm"},

		{"no key", drop(log0, "publicKey"), "publicKey"},
		{"no key bytes", drop(key0, "rawBytes"), "rawBytes"},
		{"no key details", drop(key0, "keyDetails"), "keyDetails"},
		{"key details with a typo", set(key0, "keyDetails", "PKIX_ECDSA_P256_SHA_265"), "keyDetails"},
		{"key details in lower case", set(ctKey, "keyDetails", "pkix_ecdsa_p256_sha_256"), "keyDetails"},
		{"key is garbage", set(key0, "rawBytes", []byte("garbage")), "rawBytes"},
		{"key and a byte", set(key0, "rawBytes", append(spki(t, s.V1.Key.Public()), 0)), "rawBytes"},
		{"P-384 called P-256", set(key0, "rawBytes", spki(t, p384.Public())), "rawBytes"},
		{"Ed25519 called P-256", set(key0, "rawBytes", spki(t, ed.Public())), "rawBytes"},
		{"P-256 called Ed25519", set(key0, "keyDetails", "PKIX_ED25519"), "rawBytes"},

		{"no chain", drop(ca0, "certChain"), "certChain"},
		{"empty chain", chain(ca0, func([]any) []any { return []any{} }), "certChain"},
		{"root alone", chain(ca0, func(c []any) []any { return c[1:] }), ""},
		{"chain of 9", chain(ca0, func(c []any) []any { return slices.Repeat(c[1:], 9) }), "certChain"},
		{"certificate is garbage", chain(ca0, func(c []any) []any { return []any{map[string]any{"rawBytes": []byte("garbage")}} }), "certChain[0]"},
		{"certificate empty", chain(ca0, func(c []any) []any { return []any{map[string]any{}} }), "certChain[0]"},
		{"a signer's certificate as authority", chain(ca0, func(c []any) []any { return []any{map[string]any{"rawBytes": self.Raw}} }), "certChain[0]"},
		{"timestamp authority without chain", chain(tsa0, func([]any) []any { return nil }), "certChain"},
		{"timestamp authority without its certificate", chain(tsa0, func(c []any) []any { return c[1:] }), "timestamping certificate"},
		{"timestamp authority without issuer", chain(tsa0, func(c []any) []any { return c[:1] }), "timestamping certificate"},
		{"timestamp chain of 9", chain(tsa0, func(c []any) []any { return append(slices.Clone(c), slices.Repeat(c[2:], 6)...) }), "certChain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := decode(t, good)
			tt.change(o)
			root, err := trust.Parse("test", encode(t, o))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error is %v, want one that names %q", err, tt.want)
			}
			if err != nil && root != nil {
				t.Error("an error comes with a root")
			}
		})
	}
}

// TestTUF20_UnknownKeyType: a log whose key has a type of the future is left
// out, and the rest of the root stays usable.
func TestTUF20_UnknownKeyType(t *testing.T) {
	s := coretest.New(t)
	good := s.TrustedRootJSON(t)
	for _, details := range []string{"PKIX_ECDSA_P384_SHA_384", "ML_DSA_65", "PKIX_RSA_PKCS1V15_2048_SHA256", "PKCS1_RSA_PKCS1V5"} {
		o := decode(t, good)
		o.at(key0...)["keyDetails"] = details
		o.at(key0...)["rawBytes"] = []byte("a key of another kind")
		root, err := trust.Parse("test", encode(t, o))
		if err != nil {
			t.Errorf("%s: %v", details, err)
			continue
		}
		if len(root.Logs) != 1 || root.FindLog(s.V1.ID) != nil || root.FindLog(s.V2.ID) == nil || len(root.CertificateAuthorities) != 1 {
			t.Errorf("%s: not just this log is left out", details)
		}
	}
	// The rest of what it says must still be right.
	o := decode(t, good)
	o.at(key0...)["keyDetails"] = "ML_DSA_65"
	delete(o.at(valid0...), "start")
	if _, err := trust.Parse("test", encode(t, o)); err == nil {
		t.Error("a log with a key of an unknown type may lack its start")
	}
}

// TestLIB34_Text is about the JSON text as such.
func TestLIB34_Text(t *testing.T) {
	good := coretest.New(t).TrustedRootJSON(t)
	for _, tt := range []struct {
		name string
		text []byte
		ok   bool
	}{
		{"good", good, true},
		{"line break at the end", append(slices.Clone(good), '\n'), true},
		{"nothing", nil, false},
		{"null", []byte("null"), false},
		{"empty object", []byte("{}"), false},
		{"byte order mark", append([]byte("\xef\xbb\xbf"), good...), false},
		{"trailing object", append(slices.Clone(good), "{}"...), false},
		{"truncated", good[:len(good)-3], false},
		{"duplicate field", append([]byte(`{"tlogs":[],`), good[1:]...), false},
		{"invalid UTF-8", bytes.Replace(good, []byte("ca.touchmark"), []byte("ca\xfftouchmark"), 1), false},
		{"depth of 100,000", []byte(`{"tlogs":` + strings.Repeat("[", 100_000)), false},
		{"above the limit", append(slices.Clone(good), bytes.Repeat([]byte{' '}, trust.MaxSize)...), false},
	} {
		start := time.Now()
		if _, err := trust.Parse("test", tt.text); (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		if d := time.Since(start); d > 500*time.Millisecond {
			t.Errorf("%s: takes %v", tt.name, d)
		}
	}
	if _, err := trust.Parse("", good); err == nil {
		t.Error("a root without a name is accepted")
	}
}

// TestTUF15_Load: a file that is not there, not a file, or too large.
func TestTUF15_Load(t *testing.T) {
	dir := t.TempDir()
	good := coretest.New(t).TrustedRootJSON(t)
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if root, err := trust.Load("test", write("good.json", good)); err != nil || root.Name != "test" {
		t.Errorf("the good twin is refused: %v", err)
	}
	fifo := filepath.Join(dir, "fifo.json")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		filepath.Join(dir, "missing.json"), dir, fifo, "/dev/zero", write("empty.json", nil), write("bad.json", []byte("x")),
		write("large.json", bytes.Repeat([]byte{' '}, trust.MaxSize+1)),
	} {
		if _, err := trust.Load("test", path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error is %v, want one that names the file", path, err)
		}
		if _, err := trust.LoadSigningConfig(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s as signing config: error is %v, want one that names the file", path, err)
		}
	}
}

// FuzzParse asserts that a root that was read can be written, and is then read
// as the same.
func FuzzParse(f *testing.F) {
	f.Add(coretest.New(f).TrustedRootJSON(f))
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := trust.Parse("test", text)
		if err != nil {
			return
		}
		out, err := trust.Format(first)
		if err != nil {
			t.Fatalf("read, but cannot be written: %v", err)
		}
		second, err := trust.Parse("test", out)
		if err != nil {
			t.Fatalf("written, but cannot be read: %v\n%s", err, out)
		}
		again, err := trust.Format(second)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("written in two ways (%v):\n%s\n%s", err, out, again)
		}
	})
}

package tsp_test

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tsp"
)

func TestParse(t *testing.T) {
	tsa := coretest.NewTSA(t, now, nil)
	response := tsa.Response(t, coretest.TimestampSpec{Message: message, Time: now, Nonce: big.NewInt(77), Imprint: crypto.SHA384})
	input := bytes.Clone(response)
	token, err := tsp.Parse(input)
	if err != nil {
		t.Fatal(err)
	}
	clear(input) // the token must not live in the caller's memory
	if err := token.Verify(message, tsa.Authority()); err != nil {
		t.Error(err)
	}
	h := crypto.SHA384.New()
	h.Write(message)
	if !token.Time.Equal(now) || token.Hash != crypto.SHA384 || !bytes.Equal(token.HashedMessage, h.Sum(nil)) ||
		token.Nonce.Int64() != 77 || token.Serial.Sign() <= 0 || token.Policy.String() != "1.3.6.1.4.1.57264.2" {
		t.Errorf("read %+v", token)
	}
}

func TestLIB29_ParseIsStrict(t *testing.T) {
	tsa := coretest.NewTSA(t, now, nil)
	good := tsa.Stamp(t, message, now)
	// The outermost SEQUENCE has a two-byte length: 30 82 hh ll.
	if good[1] != 0x82 {
		t.Fatalf("outer length is %x", good[1])
	}
	body := good[4:]
	outer := func(header []byte, body ...[]byte) []byte { return append(header, bytes.Join(body, nil)...) }
	length := func(n int) []byte { return []byte{0x30, 0x82, byte(n >> 8), byte(n)} }
	for name, tc := range map[string]struct {
		in   []byte
		want bool
	}{
		"good":                {good, true},
		"empty":               {nil, false},
		"trailing byte":       {append(bytes.Clone(good), 0), false},
		"inner trailing byte": {outer(length(len(body)+2), body, []byte{5, 0}), false},
		"indefinite length":   {outer([]byte{0x30, 0x80}, body, []byte{0, 0}), false},
		"length not minimal":  {outer([]byte{0x30, 0x83, 0, good[2], good[3]}, body), false},
		"length lies":         {outer([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, body), false},
		"bare token":          {body[5:], false},
		"granted, no token":   {[]byte{0x30, 5, 0x30, 3, 2, 1, 0}, false},
		"no status":           {[]byte{0x30, 0}, false},
		"too large":           {append(bytes.Clone(good), make([]byte, tsp.MaxResponse)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tsp.Parse(tc.in)
			want(t, err, tc.want)
		})
	}
	for n := range good {
		if _, err := tsp.Parse(good[:n]); err == nil {
			t.Errorf("first %d of %d bytes accepted", n, len(good))
		}
	}
}

func TestLIB29_TSTInfo(t *testing.T) {
	tsa := coretest.NewTSA(t, now, nil)
	generalized := []byte("20261101120000Z")
	replace := func(old, new []byte) func([]byte) []byte {
		return func(info []byte) []byte {
			if bytes.Count(info, old) != 1 {
				t.Fatalf("%x occurs %d times", old, bytes.Count(info, old))
			}
			content := bytes.Replace(info[2:], old, new, 1)
			if info[1] >= 0x80 || len(content) >= 0x100 {
				t.Fatal("length does not fit")
			}
			if len(content) >= 0x80 {
				return append([]byte{0x30, 0x81, byte(len(content))}, content...)
			}
			return append([]byte{0x30, byte(len(content))}, content...)
		}
	}
	at := func(text string) func([]byte) []byte {
		return replace(append([]byte{0x18, 15}, generalized...), append([]byte{0x18, byte(len(text))}, text...))
	}
	after := func(der ...byte) func([]byte) []byte {
		return replace(generalized, append(bytes.Clone(generalized), der...))
	}
	policy, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		edit func([]byte) []byte
		want bool
	}{
		"unchanged":               {func(b []byte) []byte { return b }, true},
		"version 2":               {func(b []byte) []byte { b[4] = 2; return b }, false},
		"fraction":                {at("20261101120000.25Z"), true},
		"nine digits":             {at("20261101120000.123456789Z"), true},
		"ten digits":              {at("20261101120000.1234567891Z"), false},
		"fraction with zero":      {at("20261101120000.250Z"), false},
		"fraction empty":          {at("20261101120000.Z"), false},
		"fraction with comma":     {at("20261101120000,25Z"), false},
		"without seconds":         {at("202611011200Z"), false},
		"with offset":             {at("20261101120000+0000"), false},
		"local time":              {at("20261101120000"), false},
		"leap second":             {at("20261101115960Z"), false},
		"month 13":                {at("20261301120000Z"), false},
		"accuracy":                {after(0x30, 3, 2, 1, 1), true},
		"ordering true":           {after(1, 1, 0xff), true},
		"ordering without value":  {after(1, 0), false},
		"nonce zero":              {after(2, 1, 0), true},
		"nonce negative":          {after(2, 1, 0xff), false},
		"nonce not minimal":       {after(2, 2, 0, 1), false},
		"nonce twice":             {after(2, 1, 1, 2, 1, 1), false},
		"fields in another order": {after(2, 1, 1, 1, 1, 0xff), false},
		"tsa":                     {after(0xa0, 4, 0xa4, 2, 0x30, 0), true},
		"extension malformed":     {after(0xa1, 2, 0x30, 0), false},
		"trailing field":          {after(0xa2, 2, 0x30, 0), false},
		"policy":                  {replace(policy, []byte{6, 1, 0x2a}), true},
		"policy empty":            {replace(policy, []byte{6, 0}), false},
		"policy unterminated":     {replace(policy, []byte{6, 2, 0x2a, 0x80}), false},
		"policy of 70 bytes":      {replace(policy, append([]byte{6, 70}, bytes.Repeat([]byte{1}, 70)...)), false},
		"trailing after TSTInfo":  {func(b []byte) []byte { return append(b, 5, 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			spec := coretest.TimestampSpec{Message: message, Time: now, Info: tc.edit}
			want(t, check(tsa.Response(t, spec), message, tsa.Authority()), tc.want)
		})
	}
}

// CVE-2025-66564 and the recursion and memory failures of Go's own parsers: refused at once and without memory.
func TestA076_A087_Bombs(t *testing.T) {
	nested := []byte{0x05, 0x00}
	for len(nested) < 60_000 {
		n := len(nested)
		nested = append([]byte{0x30, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, nested...)
	}
	for name, in := range map[string][]byte{
		"nested":          nested,
		"indefinite":      bytes.Repeat([]byte{0x30, 0x80}, 30_000),
		"one MiB":         bytes.Repeat([]byte{0x30, 0x80}, 1<<19),
		"length lies":     {0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30},
		"length overflow": {0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			const rounds = 20
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			for range rounds {
				if _, err := tsp.Parse(in); err == nil {
					t.Fatal("accepted")
				}
			}
			elapsed := time.Since(start) / rounds
			runtime.ReadMemStats(&after)
			if per := (after.TotalAlloc - before.TotalAlloc) / rounds; per > 4*tsp.MaxResponse {
				t.Errorf("refusing %d bytes takes %d bytes of memory", len(in), per)
			}
			if elapsed > 100*time.Millisecond {
				t.Errorf("refusing takes %v", elapsed)
			}
		})
	}
}

func TestRefusalNamesTheReason(t *testing.T) {
	// PKIStatusInfo { rejection, { "bad hash" }, failInfo badAlg }
	in := []byte{0x30, 19, 0x30, 17, 2, 1, 2, 0x30, 10, 0x0c, 8, 'b', 'a', 'd', ' ', 'h', 'a', 's', 'h', 3, 0}
	in = append(in[:19], 3, 2, 7, 0x80)
	in[1], in[3] = byte(len(in)-2), byte(len(in)-4)
	_, err := tsp.Parse(in)
	if err == nil || !strings.Contains(err.Error(), `rejection (badAlg): "bad hash"`) {
		t.Errorf("error %v does not name the reason", err)
	}
}

func TestA033_Nonce(t *testing.T) {
	tsa := coretest.NewTSA(t, now, nil)
	token := func(nonce *big.Int) *tsp.Token {
		token, err := tsp.Parse(tsa.Response(t, coretest.TimestampSpec{Message: message, Time: now, Nonce: nonce}))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	seven, eight := big.NewInt(7), big.NewInt(8)
	for _, tc := range []struct {
		name       string
		sent, came *big.Int
		want       bool
	}{
		{"same", seven, seven, true},
		{"none", nil, nil, true},
		{"replayed with another", seven, eight, false},
		{"replayed without", seven, nil, false},
		{"not asked for", nil, seven, false},
	} {
		t.Run(tc.name, func(t *testing.T) { want(t, token(tc.came).CheckNonce(tc.sent), tc.want) })
	}
}

func TestNewRequest(t *testing.T) {
	if _, err := tsp.NewRequest(message, tsp.RequestOptions{Nonce: big.NewInt(-1)}); err == nil {
		t.Error("negative nonce accepted")
	}
	der, err := tsp.NewRequest([]byte("hello"), tsp.RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// SEQUENCE { INTEGER 1, SEQUENCE { SEQUENCE { OID SHA-256, NULL }, OCTET STRING SHA-256("hello") } }
	golden := "\x30\x36\x02\x01\x01\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20" +
		"\x2c\xf2\x4d\xba\x5f\xb0\xa3\x0e\x26\xe8\x3b\x2a\xc5\xb9\xe2\x9e\x1b\x16\x1e\x5c\x1f\xa7\x42\x5e\x73\x04\x33\x62\x93\x8b\x98\x24"
	if diff := cmp.Diff([]byte(golden), der); diff != "" {
		t.Error(diff)
	}
	// INTEGER 0, BOOLEAN TRUE
	der, err = tsp.NewRequest([]byte("hello"), tsp.RequestOptions{Nonce: new(big.Int), CertReq: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]byte("\x30\x3c"+golden[2:]+"\x02\x01\x00\x01\x01\xff"), der); diff != "" {
		t.Error(diff)
	}
}

// Whatever is read is read alike twice, and nothing that was not signed verifies.
func FuzzParse(f *testing.F) {
	tsa := coretest.NewTSA(f, now, nil)
	stamped := tsa.Stamp(f, message, now)
	f.Add(stamped)
	f.Add(tsa.Response(f, coretest.TimestampSpec{Message: message, Time: now, Embed: nil, Nonce: big.NewInt(5)}))
	other := coretest.NewTSA(f, now, nil).Authority()
	f.Fuzz(func(t *testing.T, in []byte) {
		token, err := tsp.Parse(in)
		if err != nil {
			return
		}
		again, err := tsp.Parse(in)
		if err != nil || !token.Time.Equal(again.Time) || token.Serial.Cmp(again.Serial) != 0 || !bytes.Equal(token.HashedMessage, again.HashedMessage) {
			t.Errorf("read twice: %+v, then %+v, %v", token, again, err)
		}
		if len(token.HashedMessage) != token.Hash.Size() {
			t.Errorf("hash %v of %d bytes", token.Hash, len(token.HashedMessage))
		}
		if token.Verify(message, other) == nil {
			t.Error("verified under an authority that signed nothing")
		}
	})
}

func BenchmarkParseVerify(b *testing.B) {
	tsa := coretest.NewTSA(b, now, nil)
	response := tsa.Stamp(b, message, now)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tsp.Parse(response); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse+verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := check(response, message, tsa.Authority()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

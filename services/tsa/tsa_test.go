package tsa

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/touchmark/touchmark/core/tsp"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// testChain makes a leaf and a root; change alters the leaf's template.
func testChain(now time.Time, change func(leaf, root *x509.Certificate)) (*ecdsa.PrivateKey, []*x509.Certificate) {
	rootKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{usage(true, 8)},
	}
	if change != nil {
		change(leaf, root)
	}
	rootCertificate := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey))))
	certificate := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, leaf, rootCertificate, key.Public(), rootKey))))
	return key, []*x509.Certificate{certificate, rootCertificate}
}

// usage is an extended key usage 1.3.6.1.5.5.7.3.N for each N: 3 is code signing, 8 time stamping.
func usage(critical bool, ns ...int) pkix.Extension {
	var usages []asn1.ObjectIdentifier
	for _, n := range ns {
		usages = append(usages, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, n})
	}
	return pkix.Extension{Id: oidExtKeyUsage, Critical: critical, Value: must(asn1.Marshal(usages))}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) step(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

type world struct {
	tsa   *TSA
	clock *clock
	chain []*x509.Certificate
	url   string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{clock: &clock{now: time.Now()}}
	key, chain := testChain(w.clock.now, nil)
	w.chain = chain
	var err error
	if w.tsa, err = New(Config{Signer: key, Chain: chain, Clock: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.tsa.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) authority() tsp.Authority { return tsp.Authority{Leaf: w.chain[0], Root: w.chain[1]} }

func (w *world) post(t testing.TB, body []byte) (int, []byte) {
	t.Helper()
	response, err := http.Post(w.url+"/api/v1/timestamp", mediaTypeQuery, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, must(io.ReadAll(response.Body))
}

func sha256Of(message []byte) []byte { d := sha256.Sum256(message); return d[:] }

// query encodes a request by the library, with what tests change.
func query(change func(*timestamp.Request)) []byte {
	r := &timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: sha256Of([]byte("message"))}
	if change != nil {
		change(r)
	}
	return must(r.Marshal())
}

func TestTSA07_NonceAndCertificate(t *testing.T) {
	w := newWorld(t)
	message := []byte("message")
	for _, nonce := range []*big.Int{nil, big.NewInt(0), big.NewInt(1), new(big.Int).SetUint64(1 << 63), new(big.Int).Lsh(big.NewInt(1), 159)} {
		for _, want := range []bool{false, true} {
			status, reply := w.post(t, must(tsp.NewRequest(message, tsp.RequestOptions{Nonce: nonce, CertReq: want})))
			if status != http.StatusCreated {
				t.Fatalf("nonce %v: status %d: %s", nonce, status, reply)
			}
			token, err := tsp.Parse(reply)
			if err != nil {
				t.Fatal(err)
			}
			if err := token.Verify(message, w.authority()); err != nil {
				t.Error(err)
			}
			if (token.Nonce == nil) != (nonce == nil) || nonce != nil && token.Nonce.Cmp(nonce) != 0 {
				t.Errorf("nonce %v came back as %v", nonce, token.Nonce)
			}
			if bytes.Contains(reply, w.chain[0].Raw) != want {
				t.Errorf("certReq %v: certificate present: %v", want, !want)
			}
			if !token.Policy.Equal(Policy) || !token.Time.Equal(w.clock.Now().Truncate(time.Second)) {
				t.Errorf("policy %v, time %v", token.Policy, token.Time)
			}
		}
	}
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		h := hash.New()
		h.Write(message)
		status, reply := w.post(t, query(func(r *timestamp.Request) { r.HashAlgorithm, r.HashedMessage = hash, h.Sum(nil) }))
		if status != http.StatusCreated {
			t.Fatalf("%v: status %d: %s", hash, status, reply)
		}
		if err := must(tsp.Parse(reply)).Verify(message, w.authority()); err != nil {
			t.Errorf("%v: %v", hash, err)
		}
	}
}

func TestTSA01_Rejections(t *testing.T) {
	w := newWorld(t)
	custom := asn1.ObjectIdentifier{1, 2, 3}
	version2 := query(nil)
	version2[4] = 2
	for name, test := range map[string]struct {
		body []byte
		info timestamp.FailureInfo
	}{
		"SHA-1":          {query(func(r *timestamp.Request) { r.HashAlgorithm, r.HashedMessage = crypto.SHA1, make([]byte, 20) }), timestamp.BadAlgorithm},
		"MD5":            {replace(query(nil), "300d06096086480165030402010500", "300c06082a864886f70d02050500"), timestamp.BadAlgorithm},
		"SHA-256 of 20":  {query(func(r *timestamp.Request) { r.HashedMessage = make([]byte, 20) }), timestamp.BadDataFormat},
		"SHA-256 of 33":  {query(func(r *timestamp.Request) { r.HashedMessage = make([]byte, 33) }), timestamp.BadDataFormat},
		"SHA-512 of 32":  {query(func(r *timestamp.Request) { r.HashAlgorithm = crypto.SHA512 }), timestamp.BadDataFormat},
		"empty digest":   {query(func(r *timestamp.Request) { r.HashedMessage = nil }), timestamp.BadDataFormat},
		"unknown policy": {query(func(r *timestamp.Request) { r.TSAPolicyOID = custom }), timestamp.UnacceptedPolicy},
		"critical extension": {query(func(r *timestamp.Request) {
			r.ExtraExtensions = []pkix.Extension{{Id: custom, Critical: true, Value: []byte{5, 0}}}
		}), timestamp.UnacceptedExtension},
		"version 2": {version2, timestamp.BadRequest},
	} {
		status, reply := w.post(t, test.body)
		info, text := readRejection(reply)
		if status != http.StatusOK || info != test.info || text == "" {
			t.Errorf("%s: status %d, failInfo %d (%s), want 200 and %d", name, status, info, text, test.info)
		}
		if _, err := tsp.Parse(reply); err == nil {
			t.Errorf("%s: a rejection reads as a token", name)
		}
	}
	for name, body := range map[string][]byte{
		"our policy":             query(func(r *timestamp.Request) { r.TSAPolicyOID = Policy }),
		"non-critical extension": query(func(r *timestamp.Request) { r.ExtraExtensions = []pkix.Extension{{Id: custom, Value: []byte{5, 0}}} }),
	} {
		if status, reply := w.post(t, body); status != http.StatusCreated {
			t.Errorf("%s: status %d: %s", name, status, reply)
		}
	}
}

// replace exchanges bytes, given in hex, and mends the two lengths around them.
func replace(der []byte, old, new string) []byte {
	before, after := must(hexBytes(old)), must(hexBytes(new))
	changed := bytes.Replace(der, before, after, 1)
	changed[1] += byte(len(after) - len(before))
	changed[6] += byte(len(after) - len(before))
	return changed
}

func hexBytes(s string) (b []byte, err error) { _, err = fmt.Sscanf(s, "%x", &b); return b, err }

// readRejection reads failInfo strictly: exactly one bit, and no bits after it.
func readRejection(reply []byte) (timestamp.FailureInfo, string) {
	var response struct {
		Status struct {
			Status int
			Text   []string
			Info   asn1.BitString
		}
	}
	if rest, err := asn1.Unmarshal(reply, &response); err != nil || len(rest) > 0 || response.Status.Status != 2 || len(response.Status.Text) != 1 {
		return -1, fmt.Sprint(err)
	}
	last := response.Status.Info.BitLength - 1
	for i := range last {
		if response.Status.Info.At(i) != 0 {
			return -1, "more than one bit"
		}
	}
	if response.Status.Info.At(last) != 1 {
		return -1, "bits after the last"
	}
	return timestamp.FailureInfo(last), response.Status.Text[0]
}

func TestTSA02_NotRequests(t *testing.T) {
	w := newWorld(t)
	good := query(func(r *timestamp.Request) { r.Nonce = big.NewInt(7) })
	indefinite := append(append([]byte{0x30, 0x80}, good[2:]...), 0, 0)
	longForm := append([]byte{0x30, 0x81, good[1]}, good[2:]...)
	negative := bytes.Replace(good, []byte{2, 1, 7}, []byte{2, 1, 0x87}, 1)
	padded := bytes.Replace(good, []byte{2, 1, 7}, []byte{2, 2, 0, 7}, 1)
	padded[1]++
	for name, body := range map[string][]byte{
		"empty":              nil,
		"text":               []byte("hello"),
		"trailing byte":      append(bytes.Clone(good), 0),
		"two requests":       append(bytes.Clone(good), good...),
		"truncated":          good[:len(good)-1],
		"indefinite length":  indefinite,
		"long form of short": longForm,
		"negative nonce":     negative,
		"padded nonce":       padded,
		"nonce of 1 KiB":     query(func(r *timestamp.Request) { r.Nonce = new(big.Int).Lsh(big.NewInt(1), 8191) }),
		"nested sequences":   nested(1000),
		"length of 4 GiB":    {0x30, 0x84, 0xff, 0xff, 0xff, 0xff},
	} {
		if status, reply := w.post(t, body); status != http.StatusBadRequest || !bytes.HasPrefix(reply, []byte(`{"code":400`)) {
			t.Errorf("%s: status %d: %s", name, status, reply)
		}
	}
	for name, body := range map[string][]byte{
		"10 MiB": make([]byte, 10<<20), "nonce of 1 MiB": query(func(r *timestamp.Request) { r.Nonce = new(big.Int).Lsh(big.NewInt(1), 8<<20) }),
	} {
		if status, reply := w.post(t, body); status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d: %s", name, status, reply)
		}
	}
	if status, reply := w.post(t, good); status != http.StatusCreated {
		t.Errorf("good request: status %d: %s", status, reply)
	}
}

func nested(depth int) []byte {
	var der []byte
	for range depth {
		der = must(asn1.Marshal(asn1.RawValue{Class: 0, Tag: 16, IsCompound: true, Bytes: der}))
	}
	return der
}

func TestTSA03_Clock(t *testing.T) {
	w := newWorld(t)
	stamped := func() *tsp.Token {
		t.Helper()
		status, reply := w.post(t, query(nil))
		if status != http.StatusCreated {
			t.Fatalf("status %d", status)
		}
		return must(tsp.Parse(reply))
	}
	first := stamped()
	w.clock.step(-2 * time.Second)
	if second := stamped(); second.Time.Before(first.Time) {
		t.Errorf("time went from %v to %v", first.Time, second.Time)
	}
	w.clock.step(-time.Hour)
	status, reply := w.post(t, query(nil))
	if info, _ := readRejection(reply); status != http.StatusOK || info != timestamp.TimeNotAvailable {
		t.Errorf("an hour back: status %d, failInfo %v", status, info)
	}
	w.clock.step(time.Hour + 3*time.Second)
	if third := stamped(); !third.Time.After(first.Time) {
		t.Errorf("time stands still at %v", third.Time)
	}
	w.clock.step(2000 * time.Hour)
	_, reply = w.post(t, query(nil))
	if info, _ := readRejection(reply); info != timestamp.TimeNotAvailable {
		t.Errorf("after the certificate's end: failInfo %v", info)
	}
}

func TestTSA04_ChainAtStart(t *testing.T) {
	now := time.Now()
	key, good := testChain(now, nil)
	if _, err := New(Config{Signer: key, Chain: good}); err != nil {
		t.Fatalf("good chain: %v", err)
	}
	for name, change := range map[string]func(leaf, root *x509.Certificate){
		"expired":       func(l, _ *x509.Certificate) { l.NotAfter = now.Add(-time.Minute) },
		"not yet valid": func(l, _ *x509.Certificate) { l.NotBefore = now.Add(time.Hour) },
		"root expired":  func(_, r *x509.Certificate) { r.NotAfter = now.Add(-time.Minute) },
		"no usage":      func(l, _ *x509.Certificate) { l.ExtraExtensions = nil },
		"not critical":  func(l, _ *x509.Certificate) { l.ExtraExtensions = []pkix.Extension{usage(false, 8)} },
		"another usage": func(l, _ *x509.Certificate) { l.ExtraExtensions = []pkix.Extension{usage(true, 3)} },
		"two usages":    func(l, _ *x509.Certificate) { l.ExtraExtensions = []pkix.Extension{usage(true, 8, 3)} },
		"unknown usage": func(l, _ *x509.Certificate) { l.ExtraExtensions = []pkix.Extension{usage(true, 8, 77)} },
		"authority":     func(l, _ *x509.Certificate) { l.IsCA, l.BasicConstraintsValid = true, true },
	} {
		key, chain := testChain(now, change)
		if _, err := New(Config{Signer: key, Chain: chain}); err == nil {
			t.Errorf("%s: the authority started", name)
		}
	}
	other, otherChain := testChain(now, nil)
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	for name, config := range map[string]Config{
		"another key":  {Signer: other, Chain: good},
		"no key":       {Chain: good},
		"Ed25519":      {Signer: private, Chain: good},
		"no root":      {Signer: key, Chain: good[:1]},
		"swapped":      {Signer: key, Chain: []*x509.Certificate{good[1], good[0]}},
		"another root": {Signer: key, Chain: []*x509.Certificate{good[0], otherChain[1]}},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s: the authority started", name)
		}
	}
}

// Serial numbers do not come from a counter that a crash could set back: two authorities of one key make none twice.
func TestTSA05_Serials(t *testing.T) {
	key, chain := testChain(time.Now(), nil)
	seen := map[string]bool{}
	for range 2 {
		authority := must(New(Config{Signer: key, Chain: chain}))
		for range 2500 {
			token := must(tsp.Parse(must(authority.stamp(must(parseRequest(query(nil)))))))
			if seen[token.Serial.String()] || token.Serial.BitLen() < 100 {
				t.Fatalf("serial %v came twice or is short", token.Serial)
			}
			seen[token.Serial.String()] = true
		}
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		method, path, contentType string
		want                      int
	}{
		{"GET", "/api/v1/timestamp", mediaTypeQuery, 405},
		{"POST", "/api/v1/timestamp/certchain", mediaTypeQuery, 405},
		{"POST", "/api/v1/timestamp", "text/plain", 415},
		{"POST", "/api/v1/timestamp", "", 415},
		{"GET", "/api/v1/other", "", 404},
		{"GET", "/api/v1/timestamp/certchain", "", 200},
	} {
		request := must(http.NewRequest(test.method, w.url+test.path, strings.NewReader("")))
		request.Header.Set("Content-Type", test.contentType)
		response := must(http.DefaultClient.Do(request))
		body := must(io.ReadAll(response.Body))
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s %s %s: status %d, want %d", test.method, test.path, test.contentType, response.StatusCode, test.want)
		}
		if test.want == 200 && bytes.Count(body, []byte("BEGIN CERTIFICATE")) != 2 {
			t.Errorf("chain: %s", body)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(query(nil))
	f.Add(query(func(r *timestamp.Request) {
		r.Nonce = big.NewInt(1 << 40)
		r.Certificates = true
		r.TSAPolicyOID = Policy
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		// What we read, the library reads alike, and what we grant verifies.
		r, err := parseRequest(data)
		if err != nil || r.grantable() != nil {
			return
		}
		other, err := timestamp.ParseRequest(data)
		if err != nil {
			t.Skip() // ours reads what DER leaves out; the library does not
		}
		if other.HashAlgorithm != r.hash || !bytes.Equal(other.HashedMessage, r.digest) || other.Certificates != r.wantCertificate {
			t.Errorf("read differently: %+v and %+v", r, other)
		}
	})
}

func BenchmarkStamp(b *testing.B) {
	w := newWorld(b)
	body := query(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.tsa.stamp(must(parseRequest(body))); err != nil {
			b.Fatal(err)
		}
	}
}

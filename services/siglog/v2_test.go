package siglog_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

func TestV2PostAnswersProofAndCheckpoint(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	for i := range 3 {
		a := l.postV2(t, signV2(t, key, fmt.Sprint(i)))
		if e := l.verifiedV2(t, a); e.GetLogIndex() != int64(i) || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("entry %d is at %d, headers %v", i, e.GetLogIndex(), a.header)
		}
		// What protobuf's parser does not tell apart: numbers are strings, and what
		// Rekor v2 does not have is not there.
		var raw map[string]json.RawMessage
		if err := json.Unmarshal(a.body, &raw); err != nil {
			t.Fatal(err)
		}
		if len(raw) != 5 || string(raw["logIndex"]) != fmt.Sprintf(`"%d"`, i) || !strings.Contains(string(raw["inclusionProof"]), fmt.Sprintf(`"treeSize":"%d"`, i+1)) {
			t.Errorf("answer: %s", a.body)
		}
	}
}

// The v1 tree has its entries, the v2 tree its own: a reader of one cannot read the
// other's.
func TestV2EntriesAreInTheirOwnTree(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	_, v1 := l.verified(t, l.post(t, sign(t, key, keyPEM(t, key.Public()), "a")))
	v2 := l.verifiedV2(t, l.postV2(t, signV2(t, key, "a")))
	if v1.LogIndex != 0 || v2.GetLogIndex() != 0 {
		t.Errorf("entries at %d and %d, want both at 0", v1.LogIndex, v2.GetLogIndex())
	}
	if a := l.postV2(t, sign(t, key, keyPEM(t, key.Public()), "a")); a.status != 400 || !strings.Contains(string(a.body), "hashedRekordRequestV002") {
		t.Errorf("a v1 entry: %d %s", a.status, a.body)
	}
	if a := l.post(t, signV2(t, key, "a")); a.status != 400 {
		t.Errorf("a v2 request: %d %s", a.status, a.body)
	}
}

func TestLOG01_V2SignatureThatDoesNotVerifyIsNotSequenced(t *testing.T) {
	l := newLog(t)
	key, other := newKey(t), newKey(t)
	digest, wrong := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(certPEM(t, other))
	good := verifierV2("publicKey", keyDER(t, key.Public()), p256Details)
	for name, request := range map[string][]byte{
		"other digest":      hashedRekordV2(wrong[:], sig, good),
		"other key":         hashedRekordV2(digest[:], sig, verifierV2("publicKey", keyDER(t, other.Public()), p256Details)),
		"other certificate": hashedRekordV2(digest[:], sig, verifierV2("x509Certificate", block.Bytes, p256Details)),
		"no signature":      hashedRekordV2(digest[:], nil, good),
		"garbage":           hashedRekordV2(digest[:], []byte("garbage"), good),
		"trailing byte":     hashedRekordV2(digest[:], append(bytes.Clone(sig), 0), good),
	} {
		a := l.postV2(t, request)
		wantErrorV2(t, name, a, 400, 3, "signature")
	}
	if cp := l.send(t, "/checkpoint", nil); !strings.HasPrefix(string(cp.body), "log.example\n0\n") {
		t.Errorf("something was sequenced: %s", cp.body)
	}
	l.verifiedV2(t, l.postV2(t, hashedRekordV2(digest[:], sig, good)))
}

// wantErrorV2: an error of Rekor v2, as its gateway writes it.
func wantErrorV2(t *testing.T, name string, a answer, status, code int, names string) {
	t.Helper()
	var e struct {
		Code    int
		Message string
		Details []any
	}
	err := json.Unmarshal(a.body, &e)
	if a.status != status || err != nil || e.Code != code || e.Details == nil || !strings.Contains(e.Message, names) {
		t.Errorf("%s: %d %.300s; want %d, code %d and %q", name, a.status, a.body, status, code, names)
	}
}

func TestLOG02_V2RequestsThatAreNotTaken(t *testing.T) {
	l := newLog(t)
	good := string(signV2(t, newKey(t), "a"))
	for name, c := range map[string]struct {
		body, contentType, encoding string
		status, code                int
		names                       string
	}{
		"another type":       {`{"identityRequestV001":{}}`, "application/json", "", 400, 3, "identityRequestV001"},
		"nothing":            {`{}`, "application/json", "", 400, 3, "hashedRekordRequestV002 is missing"},
		"both types":         {strings.TrimSuffix(good, "}") + `,"dsseRequestV002":{}}`, "application/json", "", 400, 3, "exclude"},
		"unknown field":      {strings.Replace(good, `{"digest"`, `{"extra":1,"digest"`, 1), "application/json", "", 400, 3, "extra"},
		"repeated field":     {strings.Replace(good, `{"digest"`, `{"digest":"","digest"`, 1), "application/json", "", 400, 3, "digest"},
		"both spellings":     {strings.Replace(good, `"keyDetails"`, `"key_details":"x","keyDetails"`, 1), "application/json", "", 400, 3, "keyDetails"},
		"both key and cert":  {strings.Replace(good, `"keyDetails"`, `"x509Certificate":{"rawBytes":""},"keyDetails"`, 1), "application/json", "", 400, 3, "exclude"},
		"other case":         {strings.Replace(good, `"digest"`, `"Digest"`, 1), "application/json", "", 400, 3, "Digest"},
		"trailing data":      {good + "{}", "application/json", "", 400, 3, "JSON"},
		"empty":              {"", "application/json", "", 400, 3, "JSON"},
		"not JSON":           {"\x00\xff", "application/json", "", 400, 3, "JSON"},
		"deeply nested":      {strings.Repeat("[", 1<<20), "application/json", "", 400, 3, "JSON"},
		"oversize":           {good + strings.Repeat(" ", 13<<20), "application/json", "", 413, 8, "larger"},
		"gzip":               {good, "application/json", "gzip", 415, 3, "compressed"},
		"wrong content type": {good, "application/yaml", "", 415, 3, "Content-Type"},
		"no content type":    {good, "", "", 415, 3, "Content-Type"},
	} {
		wantErrorV2(t, name, l.do(t, l.request(t, c.body, c.contentType, c.encoding)), c.status, c.code, c.names)
	}
	wantErrorV2(t, "GET", l.send(t, "/api/v2/log/entries", nil), 404, 5, "GET")
	l.verifiedV2(t, l.do(t, l.request(t, good, "application/json; charset=utf-8", "identity")))
}

func (l *testLog) request(t *testing.T, body, contentType, encoding string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", l.server.URL+"/api/v2/log/entries", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	return req
}

func TestLOG03_A081_A160_V2DigestsAndKeys(t *testing.T) {
	l := newLog(t)
	ec := func(curve elliptic.Curve) crypto.Signer { return must(t)(ecdsa.GenerateKey(curve, rand.Reader)) }
	rsaKey := func(bits int) crypto.Signer { return must(t)(rsa.GenerateKey(rand.Reader, bits)) }
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	ph := &ed25519.Options{Hash: crypto.SHA512}
	r2048, p256, p384 := rsaKey(2048), ec(elliptic.P256()), ec(elliptic.P384())
	for name, c := range map[string]struct {
		key     crypto.Signer
		hash    crypto.Hash
		opts    crypto.SignerOpts
		details string
		refused string // what the error names; empty if it is taken
	}{
		"P-256":                         {p256, crypto.SHA256, crypto.SHA256, p256Details, ""},
		"P-256, details as a number":    {p256, crypto.SHA256, crypto.SHA256, "5", ""},
		"P-384":                         {p384, crypto.SHA384, crypto.SHA384, "PKIX_ECDSA_P384_SHA_384", ""},
		"P-521":                         {ec(elliptic.P521()), crypto.SHA512, crypto.SHA512, "PKIX_ECDSA_P521_SHA_512", ""},
		"RSA 2048":                      {r2048, crypto.SHA256, crypto.SHA256, "PKIX_RSA_PKCS1V15_2048_SHA256", ""},
		"RSA 3072":                      {rsaKey(3072), crypto.SHA256, crypto.SHA256, "PKIX_RSA_PKCS1V15_3072_SHA256", ""},
		"RSA 4096":                      {rsaKey(4096), crypto.SHA256, crypto.SHA256, "PKIX_RSA_PKCS1V15_4096_SHA256", ""},
		"Ed25519ph":                     {ed, crypto.SHA512, ph, "PKIX_ED25519_PH", ""},
		"Ed25519 named pure":            {ed, crypto.SHA512, ph, "PKIX_ED25519", "PKIX_ED25519_PH"},
		"Ed25519 pure":                  {ed, crypto.SHA512, crypto.Hash(0), "PKIX_ED25519_PH", "does not verify"},
		"Ed25519 pure, SHA-256":         {ed, crypto.SHA256, crypto.Hash(0), "PKIX_ED25519", "keyDetails"},
		"Ed25519ph, SHA-256 digest":     {ed, crypto.SHA256, crypto.Hash(0), "PKIX_ED25519_PH", "64"},
		"P-224":                         {ec(elliptic.P224()), crypto.SHA256, crypto.SHA256, p256Details, "verifier."},
		"P-256 with SHA-1":              {p256, crypto.SHA1, crypto.SHA1, p256Details, "20 bytes"},
		"P-256 with SHA-384":            {p256, crypto.SHA384, crypto.SHA384, p256Details, "48 bytes"},
		"P-256 with SHA-384, said so":   {p256, crypto.SHA384, crypto.SHA384, "PKIX_ECDSA_P384_SHA_384", p256Details},
		"P-384 with SHA-256":            {p384, crypto.SHA256, crypto.SHA256, "PKIX_ECDSA_P384_SHA_256", "PKIX_ECDSA_P384_SHA_384"},
		"RSA 1024":                      {rsaKey(1024), crypto.SHA256, crypto.SHA256, "PKIX_RSA_PKCS1V15_2048_SHA256", "verifier."},
		"RSA 2056":                      {rsaKey(2056), crypto.SHA256, crypto.SHA256, "PKIX_RSA_PKCS1V15_2048_SHA256", "registered"},
		"RSA PSS":                       {r2048, crypto.SHA256, &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}, "PKIX_RSA_PSS_2048_SHA256", "PKCS1V15"},
		"RSA PSS named PKCS1v15":        {r2048, crypto.SHA256, &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}, "PKIX_RSA_PKCS1V15_2048_SHA256", "does not verify"},
		"no details":                    {p256, crypto.SHA256, crypto.SHA256, "", "keyDetails"},
		"unspecified details":           {p256, crypto.SHA256, crypto.SHA256, "0", "PUBLIC_KEY_DETAILS_UNSPECIFIED"},
		"unknown details":               {p256, crypto.SHA256, crypto.SHA256, "PKIX_ML_DSA_65", "PKIX_ML_DSA_65"},
		"unknown number as the details": {p256, crypto.SHA256, crypto.SHA256, "4294967297", "4294967297"},
	} {
		h := c.hash.New()
		h.Write([]byte("a"))
		digest := h.Sum(nil)
		sig, err := c.key.Sign(rand.Reader, digest, c.opts)
		if err != nil {
			t.Fatal(err)
		}
		request := hashedRekordV2(digest, sig, verifierV2("publicKey", keyDER(t, c.key.Public()), c.details))
		if c.details != "" && strings.Trim(c.details, "0123456789") == "" {
			request = bytes.Replace(request, []byte(`"`+c.details+`"`), []byte(c.details), 1)
		}
		if a := l.postV2(t, request); c.refused == "" {
			t.Run(name, func(t *testing.T) { l.verifiedV2(t, a) })
		} else {
			wantErrorV2(t, name, a, 400, 3, c.refused)
		}
	}

	digest := sha256.Sum256([]byte("a"))
	sig, err := p256.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	der := keyDER(t, p256.Public())
	good := verifierV2("publicKey", der, p256Details)
	longer := append(bytes.Clone(der), 5, 0) // one NULL more in the sequence, which crypto/x509 reads over
	longer[1] += 2
	weak := &rsa.PublicKey{N: r2048.Public().(*rsa.PublicKey).N, E: 3}
	loose := []byte(b64(digest[:])) // 43 letters are 2 bits more than 32 bytes
	loose[42]++
	smallOrder := ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...))
	for name, c := range map[string]struct {
		request []byte
		names   string
	}{
		"31 byte digest":            {hashedRekordV2(digest[:31], sig, good), "31 bytes"},
		"33 byte digest":            {hashedRekordV2(append(digest[:], 0), sig, good), "33 bytes"},
		"no digest":                 {hashedRekordV2(nil, sig, good), "digest"},
		"no key":                    {hashedRekordV2(digest[:], sig, verifierV2("publicKey", nil, p256Details)), "publicKey.rawBytes"},
		"PEM":                       {hashedRekordV2(digest[:], sig, verifierV2("publicKey", keyPEM(t, p256.Public()), p256Details)), "publicKey.rawBytes"},
		"key with trailing bytes":   {hashedRekordV2(digest[:], sig, verifierV2("publicKey", append(bytes.Clone(der), 0), p256Details)), "publicKey.rawBytes"},
		"key with a NULL more":      {hashedRekordV2(digest[:], sig, verifierV2("publicKey", longer, p256Details)), "canonical"},
		"key as certificate":        {hashedRekordV2(digest[:], sig, verifierV2("x509Certificate", der, p256Details)), "x509Certificate.rawBytes"},
		"no verifier":               {hashedRekordV2(digest[:], sig, `{}`), "publicKey"},
		"Ed25519 key of low order":  {hashedRekordV2(make([]byte, 64), make([]byte, 64), verifierV2("publicKey", keyDER(t, smallOrder), "PKIX_ED25519_PH")), "verifier."},
		"RSA exponent 3":            {hashedRekordV2(digest[:], sig, verifierV2("publicKey", keyDER(t, weak), "PKIX_RSA_PKCS1V15_2048_SHA256")), "verifier."},
		"base64 with loose bits":    {bytes.Replace(hashedRekordV2(digest[:], sig, good), []byte(b64(digest[:])), loose, 1), "digest"},
		"base64 with wrong padding": {bytes.Replace(hashedRekordV2(digest[:], sig, good), []byte(b64(digest[:])), []byte(b64(digest[:])+"="), 1), "digest"},
	} {
		wantErrorV2(t, name, l.postV2(t, c.request), 400, 3, c.names)
	}
}

func must(t testing.TB) func(key crypto.Signer, err error) crypto.Signer {
	t.Helper()
	return func(key crypto.Signer, err error) crypto.Signer {
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
}

// One entry in every spelling that protobuf's JSON allows is one leaf, and so is
// what older clients send for an envelope.
func TestLOG05_V2VariantsOfOneEntryHaveOneBody(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	payload := []byte(`{"a":"?>"}`)
	pae := sha256.Sum256(bundle.PAE(inToto, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, pae[:])
	if err != nil {
		t.Fatal(err)
	}
	der := keyDER(t, key.Public())
	v := verifierV2("publicKey", der, p256Details)
	plain := string(hashedRekordV2(pae[:], sig, v))
	first := l.verifiedV2(t, l.postV2(t, []byte(plain)))
	want, err := entry.HashedRekordV002(pae[:], sig, entry.Verifier{Key: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(first.GetCanonicalizedBody())); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	envelope := fmt.Sprintf(`{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q,"keyid":"x"}]}`, b64(payload), inToto, b64(sig))
	for name, variant := range map[string]string{
		"snake case":        strings.NewReplacer("hashedRekordRequestV002", "hashed_rekord_request_v002", "publicKey", "public_key", "rawBytes", "raw_bytes", "keyDetails", "key_details").Replace(plain),
		"white space":       " " + strings.ReplaceAll(plain, ":", " :\n\t") + "\n",
		"escaped name":      strings.Replace(plain, "digest", `d\u0069gest`, 1),
		"unpadded":          strings.ReplaceAll(plain, "=", ""),
		"other alphabet":    strings.NewReplacer(b64(pae[:]), base64.URLEncoding.EncodeToString(pae[:]), b64(sig), base64.RawURLEncoding.EncodeToString(sig)).Replace(plain),
		"number":            strings.Replace(plain, `"`+p256Details+`"`, "5", 1),
		"nulls":             strings.TrimSuffix(plain, "}") + `,"dsseRequestV002":null}`,
		"null certificate":  strings.Replace(plain, `"keyDetails"`, `"x509Certificate":null,"keyDetails"`, 1),
		"dsse":              fmt.Sprintf(`{"dsseRequestV002":{"envelope":%s,"verifiers":[%s]}}`, envelope, v),
		"dsse, snake case":  fmt.Sprintf(`{"dsse_request_v002":{"envelope":%s,"verifiers":[%s]}}`, envelope, strings.NewReplacer("publicKey", "public_key", "rawBytes", "raw_bytes").Replace(v)),
		"dsse, no key hint": fmt.Sprintf(`{"dsseRequestV002":{"envelope":%s,"verifiers":[%s]}}`, strings.Replace(envelope, `,"keyid":"x"`, "", 1), v),
	} {
		if variant == plain {
			t.Fatalf("%s is no variant", name)
		}
		if e := l.verifiedV2(t, l.postV2(t, []byte(variant))); e.GetLogIndex() != 0 || !bytes.Equal(e.GetCanonicalizedBody(), want) {
			t.Errorf("%s: another entry: %s", name, e.GetCanonicalizedBody())
		}
	}
}

func TestA080_DSSEWithMoreThanOneSignatureOrVerifier(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	payload := []byte("{}")
	pae := sha256.Sum256(bundle.PAE(inToto, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, pae[:])
	if err != nil {
		t.Fatal(err)
	}
	v := verifierV2("publicKey", keyDER(t, key.Public()), p256Details)
	request := func(payloadType string, sigs, verifiers int) []byte {
		one := fmt.Sprintf(`{"sig":%q}`, b64(sig))
		return fmt.Appendf(nil, `{"dsseRequestV002":{"envelope":{"payload":%q,"payloadType":%q,"signatures":[%s]},"verifiers":[%s]}}`, b64(payload), payloadType,
			strings.TrimSuffix(strings.Repeat(one+",", sigs), ","), strings.TrimSuffix(strings.Repeat(v+",", verifiers), ","))
	}
	for _, n := range [][2]int{{0, 1}, {1, 0}, {2, 1}, {1, 2}, {2, 2}, {100, 1}, {100, 100}} {
		wantErrorV2(t, fmt.Sprint(n), l.postV2(t, request(inToto, n[0], n[1])), 400, 3, "want one")
	}
	wantErrorV2(t, "other payload type", l.postV2(t, request("text/plain", 1, 1)), 400, 3, "does not verify")
	wantErrorV2(t, "no payload type", l.postV2(t, request("", 1, 1)), 400, 3, "payloadType")
	l.verifiedV2(t, l.postV2(t, request(inToto, 1, 1)))
}

func TestA075_V2NullAtEachPointer(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	payload := []byte("{}")
	pae := sha256.Sum256(bundle.PAE(inToto, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, pae[:])
	if err != nil {
		t.Fatal(err)
	}
	v := verifierV2("publicKey", keyDER(t, key.Public()), p256Details)
	dsse := fmt.Appendf(nil, `{"dsseRequestV002":{"envelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]},"verifiers":[%s]}}`, b64(payload), inToto, b64(sig), v)
	for kind, request := range map[string][]byte{"hashedrekord": signV2(t, key, "a"), "dsse": dsse} {
		var doc any
		if err := json.Unmarshal(request, &doc); err != nil {
			t.Fatal(err)
		}
		tried := 0
		everyPlace(doc, func(pointer string, set func(any)) {
			for _, value := range []any{nil, true, -1.5, 1e300, "", "null", []any{}, []any{nil}, map[string]any{}, map[string]any{"x": nil}} {
				set(value)
				variant, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				wantErrorV2(t, fmt.Sprintf("%s: %v at %s", kind, value, pointer), l.postV2(t, variant), 400, 3, "")
				tried++
			}
		})
		if tried < 70 {
			t.Fatalf("%s: only %d variants", kind, tried)
		}
		l.verifiedV2(t, l.postV2(t, request))
	}
	for _, body := range []string{"null", "[]", "1", `""`, `[null]`, `{"_":1}`, `{"":1}`, `{"hashedRekordRequestV002":{"_digest":""}}`} {
		wantErrorV2(t, body, l.postV2(t, []byte(body)), 400, 3, "")
	}
}

// A certificate goes into the leaf as it is; one that does not fit there is
// refused.
func TestV2Certificates(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	digest := sha256.Sum256([]byte("a"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	with := func(emails ...string) []byte {
		block, _ := pem.Decode(certPEM(t, key, emails...))
		return hashedRekordV2(digest[:], sig, verifierV2("x509Certificate", block.Bytes, p256Details))
	}
	e := l.verifiedV2(t, l.postV2(t, with("alice@acme.example")))
	if !strings.Contains(string(e.GetCanonicalizedBody()), `"x509Certificate":{"rawBytes":"`) {
		t.Errorf("body: %s", e.GetCanonicalizedBody())
	}
	wantErrorV2(t, "a certificate of 64 KiB", l.postV2(t, with(strings.Repeat("a", 64<<10)+"@acme.example")), 400, 3, "limit")

	// An RSA signature as a number too large, an ECDSA signature with huge values.
	huge, err := json.Marshal(new(big.Int).Lsh(big.NewInt(1), 1<<16).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	request := fmt.Appendf(nil, `{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":%s,"verifier":%s}}}`, b64(digest[:]), huge, verifierV2("publicKey", keyDER(t, key.Public()), p256Details))
	wantErrorV2(t, "huge signature", l.postV2(t, request), 400, 3, "does not verify")
}

// A log that is shutting down says so, in the words of its face, and when to try again.
func TestV2Unavailable(t *testing.T) {
	l := newLog(t)
	request := signV2(t, newKey(t), "a")
	l.verifiedV2(t, l.postV2(t, request))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a := l.postV2(t, request)
	wantErrorV2(t, "closed", a, 503, 14, "shutting down")
	if a.header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", a.header)
	}
	// What clients that begin again come back to.
	l.server.Close()
	l.start(t)
	l.verifiedV2(t, l.postV2(t, request))
}

package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func goodHeader() map[string]any {
	return map[string]any{"alg": "RS256", "kid": testKeyID, "typ": "JWT"}
}

func TestCA01_A097_Algorithms(t *testing.T) {
	curve := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	w := newWorld(t, func(c *Config) {
		c.Issuers[0].Keys = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: issuerKey().Public(), KeyID: testKeyID}, {Key: curve.Public(), KeyID: "curve"},
		}}
	})
	payload := must(json.Marshal(w.claims()))
	signed := func(header map[string]any) string { return encode(must(json.Marshal(header))) + "." + encode(payload) }
	head := func(alg, kid string) map[string]any { return map[string]any{"alg": alg, "kid": kid} }
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(issuerKey().Public()))})
	hs := func(secret []byte) string {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed(head("HS256", testKeyID))))
		return signed(head("HS256", testKeyID)) + "." + encode(mac.Sum(nil))
	}
	es := func(alg, kid string, hash []byte) string {
		r, s, err := ecdsa.Sign(rand.Reader, curve, hash)
		if err != nil {
			t.Fatal(err)
		}
		size := 32
		if alg == "ES384" {
			size = 48
		}
		return signed(head(alg, kid)) + "." + encode(append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...))
	}
	h256 := func(alg, kid string) []byte { d := sha256.Sum256([]byte(signed(head(alg, kid)))); return d[:] }
	h384 := func(alg, kid string) []byte { d := sha512.Sum384([]byte(signed(head(alg, kid)))); return d[:] }
	pss := must(rsa.SignPSS(rand.Reader, issuerKey(), crypto.SHA256, h256("RS256", testKeyID), nil))
	for name, token := range map[string]string{
		"none, empty signature":      signed(head("none", testKeyID)) + ".",
		"none, some signature":       signed(head("none", testKeyID)) + ".AAAA",
		"None":                       signed(head("None", testKeyID)) + ".",
		"NONE":                       signed(head("NONE", "")) + ".AAAA",
		"no alg":                     signed(map[string]any{"kid": testKeyID}) + ".AAAA",
		"empty alg":                  signJWT(payload, head("", testKeyID)),
		"alg is a number":            signJWT(payload, map[string]any{"alg": 256, "kid": testKeyID}),
		"HS256 with PEM as secret":   hs(keyPEM),
		"HS256 with DER as secret":   hs(must(x509.MarshalPKIXPublicKey(issuerKey().Public()))),
		"RS256, empty signature":     signed(goodHeader()) + ".",
		"RS256, zero signature":      signed(goodHeader()) + "." + encode(make([]byte, 256)),
		"RS256 header, PS signature": signed(head("RS256", testKeyID)) + "." + encode(pss),
		"PS256 header, RS signature": signJWT(payload, head("PS256", testKeyID)),
		"ES256 header, RSA key":      signJWT(payload, head("ES256", testKeyID)),
		"RS256 header, P-256 key":    es("RS256", "curve", h256("RS256", "curve")),
		"ES384 with a P-256 key":     es("ES384", "curve", h384("ES384", "curve")),
		"ES256K":                     es("ES256K", "curve", h256("ES256K", "curve")),
		"RS1":                        signJWT(payload, head("RS1", testKeyID)),
	} {
		w.refuses(name, w.request(token), http.StatusBadRequest)
	}
	w.issues("RS256", w.request(signJWT(payload, goodHeader())))
	w.issues("ES256", w.request(es("ES256", "curve", h256("ES256", "curve"))))
}

func TestCA02_KeyIdentifier(t *testing.T) {
	other := must(rsa.GenerateKey(rand.Reader, 2048))
	w := newWorld(t, func(c *Config) {
		// Two keys of one identifier: the right one is found among them.
		c.Issuers[0].Keys.Keys = append([]jose.JSONWebKey{{Key: other.Public(), KeyID: testKeyID}}, c.Issuers[0].Keys.Keys...)
	})
	payload := must(json.Marshal(w.claims()))
	for _, kid := range []string{"unknown", "../../etc/passwd", "https://evil.example/keys", "' OR 1=1 --", testKeyID + "\x00", strings.ToUpper(testKeyID), testKeyID[:4]} {
		w.refuses("kid "+kid, w.request(signJWT(payload, map[string]any{"alg": "RS256", "kid": kid})), http.StatusBadRequest)
	}
	w.refuses("kid is an object", w.request(signJWT(payload, map[string]any{"alg": "RS256", "kid": map[string]any{}})), http.StatusBadRequest)
	w.issues("kid of two keys", w.request(signJWT(payload, goodHeader())))
	w.issues("no kid", w.request(signJWT(payload, map[string]any{"alg": "RS256"})))
}

func TestCA03_A095_HeadersThatBringKeys(t *testing.T) {
	canary := newCanary(t)
	w := newWorld(t, nil)
	mallory := must(rsa.GenerateKey(rand.Reader, 2048))
	payload := must(json.Marshal(w.claims()))
	for name, value := range map[string]any{
		"jwk":  jose.JSONWebKey{Key: mallory.Public(), KeyID: testKeyID},
		"x5c":  []string{base64.StdEncoding.EncodeToString(w.config.Chain[0].Raw)},
		"jku":  canary.URL + "/jwks",
		"x5u":  canary.URL + "/x5u",
		"crit": []string{"exp"},
		"b64":  false,
		"zip":  "DEF",
	} {
		header := goodHeader()
		header[name] = value
		// Signed by the right key, and by the one that the header brings.
		w.refuses(name, w.request(signJWT(payload, header)), http.StatusBadRequest)
		forged := encode(must(json.Marshal(header))) + "." + encode(payload)
		digest := sha256.Sum256([]byte(forged))
		forged += "." + encode(must(rsa.SignPKCS1v15(rand.Reader, mallory, crypto.SHA256, digest[:])))
		w.refuses(name+" forged", w.request(forged), http.StatusBadRequest)
	}
	if canary.count() != 0 {
		t.Errorf("a token's header made %d requests", canary.count())
	}
	header := goodHeader()
	header["x5t"] = "harmless" // Azure and GitHub write it
	w.issues("x5t", w.request(signJWT(payload, header)))
}

func TestA096_Serialisation(t *testing.T) {
	w := newWorld(t, nil)
	good := w.token(nil)
	parts := strings.Split(good, ".")
	flat := must(json.Marshal(map[string]any{"payload": parts[1], "protected": parts[0], "signature": parts[2]}))
	general := must(json.Marshal(map[string]any{"payload": parts[1], "signatures": []any{
		map[string]any{"protected": parts[0], "signature": parts[2]}, map[string]any{"protected": parts[0], "signature": parts[2]},
	}}))
	// The last character of a signature of 256 bytes carries two bits that mean nothing.
	last := parts[2][len(parts[2])-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	nonCanonical := good[:len(good)-1] + string(alphabet[strings.IndexByte(alphabet, last)+1])
	for name, token := range map[string]string{
		"flattened JSON":       string(flat),
		"general JSON":         string(general),
		"padded":               parts[0] + "." + parts[1] + "." + parts[2] + "==",
		"non-canonical":        nonCanonical,
		"line break":           parts[0] + ".\n" + parts[1] + "." + parts[2],
		"line break at end":    good + "\n",
		"standard alphabet":    parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "+/",
		"four parts":           good + ".AAAA",
		"two parts":            parts[0] + "." + parts[1],
		"empty payload":        parts[0] + ".." + parts[2],
		"header is not JSON":   encode([]byte("x")) + "." + parts[1] + "." + parts[2],
		"header is an array":   encode([]byte("[]")) + "." + parts[1] + "." + parts[2],
		"payload is a string":  signJWT([]byte(`"x"`), goodHeader()),
		"payload is null":      signJWT([]byte(`null`), goodHeader()),
		"payload goes on":      signJWT(append(must(json.Marshal(w.claims())), '{', '}'), goodHeader()),
		"one bit of signature": good[:len(good)-8] + flip(good[len(good)-8]) + good[len(good)-7:],
		"one bit of payload":   parts[0] + "." + parts[1][:8] + flip(parts[1][8]) + parts[1][9:] + "." + parts[2],
	} {
		w.refuses(name, w.request(token), http.StatusBadRequest)
	}
	w.issues("compact", w.request(good))
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestCA04_Audience(t *testing.T) {
	w := newWorld(t, nil)
	for name, changes := range map[string]map[string]any{
		"other":             {"aud": "other"},
		"missing":           {"aud": nil},
		"empty":             {"aud": ""},
		"empty array":       {"aud": []string{}},
		"array of others":   {"aud": []string{"a", "b"}},
		"number":            {"aud": 7},
		"mixed array":       {"aud": []any{"sigstore", 7}},
		"case":              {"aud": "Sigstore"},
		"prefix":            {"aud": "sigstore.example"},
		"several, no azp":   {"aud": []string{"sigstore", "other"}},
		"several, azp of b": {"aud": []string{"sigstore", "other"}, "azp": "other"},
		"azp of another":    {"azp": "other"},
		"azp is a number":   {"azp": 7},
	} {
		w.refuses(name, w.request(w.token(changes)), http.StatusBadRequest)
	}
	w.issues("array of one", w.request(w.token(map[string]any{"aud": []string{"sigstore"}})))
	w.issues("several for us", w.request(w.token(map[string]any{"aud": []string{"other", "sigstore"}, "azp": "sigstore"})))
}

func TestCA05_Issuer(t *testing.T) {
	w := newWorld(t, nil)
	for _, iss := range []any{
		nil, "", 7, testIssuer + "/", testIssuer + "/x", testIssuer + ".evil.example", "https://issuer.acme", "http://issuer.acme.example",
		"https://good@issuer.acme.example", "https://issuer.acme.example@evil.example", testIssuer + ":443", "HTTPS://ISSUER.ACME.EXAMPLE",
		"https://issuer%2Eacme.example", "https://іssuer.acme.example", testIssuer + "#", testIssuer + "?", " " + testIssuer, testIssuer + "\x00",
	} {
		w.refuses("iss", w.request(w.token(map[string]any{"iss": iss})), http.StatusBadRequest)
	}
	w.issues("exact", w.request(w.token(nil)))
}

func TestCA06_A099_Times(t *testing.T) {
	w := newWorld(t, nil)
	now := w.clock.Now().Unix()
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, changes := range map[string]map[string]any{
		"expired 1 s ago":    {"exp": now - 1},
		"expires now":        {"exp": now},
		"exp missing":        {"exp": nil},
		"exp null":           {"exp": raw("null")},
		"exp string":         {"exp": "9999999999"},
		"exp fraction":       {"exp": raw("9999999999.5")},
		"exp exponent":       {"exp": raw("1e11")},
		"exp 1e400":          {"exp": raw("1e400")},
		"exp negative":       {"exp": -now},
		"exp huge":           {"exp": raw("99999999999999999999999")},
		"exp overflow":       {"exp": raw("9223372036854775807")},
		"exp object":         {"exp": map[string]any{}},
		"nbf future":         {"nbf": now + 120},
		"nbf string":         {"nbf": "0"},
		"nbf null":           {"nbf": raw("null")},
		"iat future":         {"iat": now + 120},
		"iat missing":        {"iat": nil},
		"iat string":         {"iat": "0"},
		"iat 1e400":          {"iat": raw("1e400")},
		"too old":            {"iat": now - 3601, "exp": now + 600},
		"from the beginning": {"iat": 0, "exp": now + 600},
	} {
		w.refuses(name, w.request(w.token(changes)), http.StatusBadRequest)
	}
	nan := bytes.Replace(must(json.Marshal(w.claims())), []byte(`"iat":`), []byte(`"iat":NaN,"x":`), 1)
	w.refuses("iat NaN", w.request(signJWT(nan, goodHeader())), http.StatusBadRequest)
	w.issues("expires in 2 s", w.request(w.token(map[string]any{"exp": now + 2})))
	w.issues("old but allowed", w.request(w.token(map[string]any{"iat": now - 3590})))
	w.issues("a clock 10 s ahead", w.request(w.token(map[string]any{"iat": now + 10, "nbf": now + 10})))
}

func TestCA07_TokensThatCostTooMuch(t *testing.T) {
	w := newWorld(t, nil)
	good := string(must(json.Marshal(w.claims())))
	insert := func(s string) string { return signJWT([]byte(good[:len(good)-1]+","+s+"}"), goodHeader()) }
	for name, token := range map[string]string{
		"claim twice":        insert(`"email":"mallory@acme.example"`),
		"same claim twice":   insert(`"email":"` + alice + `"`),
		"nested twice":       insert(`"x":{"a":1,"a":2}`),
		"other case":         insert(`"Email":"mallory@acme.example"`),
		"escaped twice":      insert(`"\u0065mail":"mallory@acme.example"`),
		"other case of iss":  insert(`"ISS":"https://evil.example"`),
		"verified twice":     insert(`"Email_Verified":false`),
		"nested 1000 deep":   insert(`"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000)),
		"header alg twice":   encode([]byte(`{"alg":"none","alg":"RS256"}`)) + "." + encode([]byte(good)) + ".AAAA",
		"longer than 16 KiB": insert(`"x":"` + strings.Repeat("x", 16<<10) + `"`),
		"only dots":          strings.Repeat(".", 10_000),
	} {
		w.refuses(name, w.request(token), http.StatusBadRequest)
	}
	for name, token := range map[string]string{
		"1 MiB":           insert(`"x":"` + strings.Repeat("x", 1<<20) + `"`),
		"10 MiB of dots":  strings.Repeat(".", 10<<20),
		"nested 10k deep": insert(`"x":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000)),
	} {
		body := w.request(token)
		start := time.Now()
		w.refuses(name, body, http.StatusRequestEntityTooLarge)
		if spent := time.Since(start); spent > 5*time.Second {
			t.Errorf("%s: took %v", name, spent)
		}
	}
	w.issues("a further claim", w.request(insert(`"x":{"a":[1,{"a":2}]}`)))
}

// Refusing a token costs less than ten milliseconds and a mebibyte, whatever it holds.
func TestCA07_CostOfRefusing(t *testing.T) {
	for name, token := range map[string]string{
		"10 MiB of dots": strings.Repeat(".", 10<<20),
		"deep":           encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(strings.Repeat("[", 10_000))) + ".AAAA",
	} {
		result := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := splitToken(token); err == nil {
					b.Fatal("accepted")
				}
			}
		})
		if result.AllocedBytesPerOp() > 1<<20 || result.NsPerOp() > 10*time.Millisecond.Nanoseconds() {
			t.Errorf("%s: %s %s", name, result, result.MemString())
		}
	}
}

func TestCA08_EmailVerified(t *testing.T) {
	w := newWorld(t, nil)
	for name, value := range map[string]any{
		"false": false, "string false": "false", "missing": nil, "null": json.RawMessage("null"), "number": 1, "True": "True", "empty": "", "array": []bool{true},
	} {
		w.refuses(name, w.request(w.token(map[string]any{"email_verified": value})), http.StatusBadRequest)
	}
	w.issues("true", w.request(w.token(nil)))
	w.issues("string true", w.request(w.token(map[string]any{"email_verified": "true"})))
}

func TestCA09_SubjectSyntax(t *testing.T) {
	w := newWorld(t, nil)
	for _, email := range []string{
		"", "alice", "@", "alice@", "@acme.example", "alice@acme.example\n", "alice@acme.example\r\nBcc: x", "alice\x00@acme.example", "alice@acme.example\x00.evil.example",
		"Alice <alice@acme.example>", "<alice@acme.example>", "alice@acme.example, bob@acme.example", "alice@acme.example (comment)", `"alice"@acme.example`,
		"alice@acme.example,DNS:evil.example", "ålice@acme.example", strings.Repeat("a", 300) + "@acme.example", " alice@acme.example", "https://evil.example/",
	} {
		key, proof := newSigner(email)
		w.refuses("email", v2Body(w.token(map[string]any{"email": email}), publicPEM(key.Public()), proof), http.StatusBadRequest)
	}
	for _, sub := range []any{nil, "", 7, "a\nb", "a\x00b", strings.Repeat("a", 256)} {
		w.refuses("sub", w.request(w.token(map[string]any{"sub": sub})), http.StatusBadRequest)
	}
	w.issues("plus address", func() []byte {
		key, proof := newSigner("alice+ci@sub.acme.example")
		return v2Body(w.token(map[string]any{"email": "alice+ci@sub.acme.example"}), publicPEM(key.Public()), proof)
	}())
}

func TestA100_BadAndExpired(t *testing.T) {
	w := newWorld(t, nil)
	expired := w.token(map[string]any{"exp": 1})
	parts := strings.Split(expired, ".")
	w.refuses("bad signature and expired", w.request(parts[0]+"."+parts[1]+"."+encode(make([]byte, 256))), http.StatusBadRequest)
	w.refuses("good signature and expired", w.request(expired), http.StatusBadRequest)
	w.refuses("bad signature, not expired", w.request(strings.Join(append(strings.Split(w.token(nil), ".")[:2], encode(make([]byte, 256))), ".")), http.StatusBadRequest)
	w.issues("good", w.request(w.token(nil)))
}

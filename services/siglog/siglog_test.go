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
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
)

func TestPostAnswersProofTimestampAndCheckpoint(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	for i, proposed := range [][]byte{
		sign(t, key, keyPEM(t, key.Public()), "a"),
		sign(t, key, certPEM(t, key, "Alice@acme.example"), "b"),
		signEnvelope(t, key, certPEM(t, key), `{"subject":[]}`),
	} {
		a := l.post(t, proposed)
		id, e := l.verified(t, a)
		if a.status != 201 || a.header.Get("ETag") != id || a.header.Get("Location") != "/api/v1/log/entries/"+id || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("status %d, headers %v", a.status, a.header)
		}
		if e.LogIndex != int64(i) {
			t.Errorf("entry %d has index %d", i, e.LogIndex)
		}
		// Every way to read it back gives the same entry.
		for _, path := range []string{"/api/v1/log/entries/" + id, "/api/v1/log/entries/" + id[16:], fmt.Sprintf("/api/v1/log/entries?logIndex=%d", i)} {
			gotID, got := l.verified(t, l.send(t, path, nil))
			if gotID != id || got.IntegratedTime != e.IntegratedTime || !bytes.Equal(got.Body, e.Body) {
				t.Errorf("%s: %s %+v", path, gotID, got)
			}
		}
		for _, query := range []string{fmt.Sprintf(`{"entryUUIDs":[%q]}`, id), fmt.Sprintf(`{"entryUUIDs":null,"logIndexes":[%d],"entries":null}`, i), fmt.Sprintf(`{"entries":[%s]}`, proposed)} {
			a := l.send(t, "/api/v1/log/entries/retrieve", []byte(query))
			var list []json.RawMessage
			if err := json.Unmarshal(a.body, &list); err != nil || len(list) != 1 {
				t.Fatalf("retrieve %.40s: %d %s", query, a.status, a.body)
			}
			if gotID, _ := l.verified(t, answer{status: 200, body: list[0]}); gotID != id {
				t.Errorf("retrieve %.40s: %s", query, gotID)
			}
		}
	}
}

func TestLOG01_SignatureThatDoesNotVerifyIsNotSequenced(t *testing.T) {
	l := newLog(t)
	key, other := newKey(t), newKey(t)
	pub := keyPEM(t, key.Public())
	digest, wrong := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte("{}")
	pae := sha256.Sum256(bundle.PAE(inToto, payload))
	envSig, err := ecdsa.SignASN1(rand.Reader, key, pae[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, proposed := range map[string][]byte{
		"other digest":                 hashedRekord("sha256", wrong[:], sig, pub),
		"other key":                    hashedRekord("sha256", digest[:], sig, keyPEM(t, other.Public())),
		"other certificate":            hashedRekord("sha256", digest[:], sig, certPEM(t, other)),
		"no signature":                 hashedRekord("sha256", digest[:], nil, pub),
		"garbage":                      hashedRekord("sha256", digest[:], []byte("garbage"), pub),
		"trailing byte":                hashedRekord("sha256", digest[:], append(bytes.Clone(sig), 0), pub),
		"dsse: other payload":          dsse(envelope(inToto, []byte("[]"), envSig), pub),
		"dsse: other payload type":     dsse(envelope("text/plain", payload, envSig), pub),
		"dsse: other key":              dsse(envelope(inToto, payload, envSig), keyPEM(t, other.Public())),
		"dsse: signature over payload": dsse(envelope(inToto, []byte("a"), sig), pub),
		"dsse: two signatures":         dsse(envelope(inToto, payload, envSig, envSig), pub),
		"dsse: no signature":           dsse(envelope(inToto, payload), pub),
		"dsse: two verifiers":          dsse(envelope(inToto, payload, envSig), pub, pub),
		"dsse: no verifier":            dsse(envelope(inToto, payload, envSig)),
	} {
		if a := l.post(t, proposed); a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if info := l.send(t, "/api/v1/log", nil); !strings.Contains(string(info.body), `"treeSize":0`) {
		t.Errorf("something was sequenced: %s", info.body)
	}
	l.verified(t, l.post(t, hashedRekord("sha256", digest[:], sig, pub)))
	l.verified(t, l.post(t, dsse(envelope(inToto, payload, envSig), pub)))
}

func TestLOG02_RequestsThatAreNotTaken(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	good := string(sign(t, key, keyPEM(t, key.Public()), "a"))
	request := func(body, contentType, encoding string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), "POST", l.server.URL+"/api/v1/log/entries", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		if encoding != "" {
			req.Header.Set("Content-Encoding", encoding)
		}
		return req
	}
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the log followed a URL") }))
	defer canary.Close()
	for name, c := range map[string]struct {
		req    *http.Request
		status int
		names  string
	}{
		"unknown kind":       {request(strings.Replace(good, `"hashedrekord"`, `"rekord"`, 1), "application/json", ""), 400, "rekord"},
		"unknown version":    {request(strings.Replace(good, `"0.0.1"`, `"0.0.2"`, 1), "application/json", ""), 400, "0.0.2"},
		"kind missing":       {request(strings.Replace(good, `"kind":"hashedrekord",`, ``, 1), "application/json", ""), 400, "kind"},
		"spec missing":       {request(`{"kind":"hashedrekord","apiVersion":"0.0.1"}`, "application/json", ""), 400, "spec"},
		"unknown field":      {request(strings.Replace(good, `{"data"`, `{"extra":1,"data"`, 1), "application/json", ""), 400, "extra"},
		"repeated field":     {request(strings.Replace(good, `{"data"`, `{"data":{},"data"`, 1), "application/json", ""), 400, "data"},
		"other case":         {request(strings.Replace(good, `"spec"`, `"Spec"`, 1), "application/json", ""), 400, "Spec"},
		"trailing data":      {request(good+"{}", "application/json", ""), 400, "JSON"},
		"empty":              {request("", "application/json", ""), 400, "JSON"},
		"not JSON":           {request("\x00\xff", "application/json", ""), 400, "JSON"},
		"deeply nested":      {request(strings.Repeat("[", 1<<20), "application/json", ""), 400, "JSON"},
		"oversize":           {request(good+strings.Repeat(" ", 13<<20), "application/json", ""), 413, "larger"},
		"gzip":               {request(good, "application/json", "gzip"), 415, "compressed"},
		"wrong content type": {request(good, "application/yaml", ""), 415, "Content-Type"},
		"no content type":    {request(good, "", ""), 415, "Content-Type"},
		"data by URL":        {request(strings.Replace(good, `"data":{`, `"data":{"url":"`+canary.URL+`",`, 1), "application/json", ""), 400, "url"},
		"public key by URL":  {request(strings.Replace(good, `"publicKey":{`, `"publicKey":{"url":"`+canary.URL+`",`, 1), "application/json", ""), 400, "url"},
		"good":               {request(good, "application/json; charset=utf-8", "identity"), 201, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			a := l.do(t, c.req)
			if a.status != c.status || !strings.Contains(string(a.body), c.names) {
				t.Fatalf("%d %.300s; want %d and %q", a.status, a.body, c.status, c.names)
			}
			var e struct {
				Code    int
				Message string
			}
			if err := json.Unmarshal(a.body, &e); a.status >= 400 && (err != nil || e.Code != a.status || e.Message == "") {
				t.Errorf("the error's body is %s", a.body)
			}
		})
	}
}

func TestLOG03_DigestsAndKeys(t *testing.T) {
	l := newLog(t)
	message := []byte("a")
	signWith := func(key crypto.Signer, hash crypto.Hash, opts crypto.SignerOpts) ([]byte, []byte) {
		t.Helper()
		h := hash.New()
		h.Write(message)
		digest := h.Sum(nil)
		sig, err := key.Sign(rand.Reader, digest, opts)
		if err != nil {
			t.Fatal(err)
		}
		return digest, sig
	}
	ec := func(curve elliptic.Curve) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rsaKey := func(bits int) *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	names := map[crypto.Hash]string{crypto.SHA1: "sha1", crypto.SHA224: "sha224", crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}
	r2048 := rsaKey(2048)
	for name, c := range map[string]struct {
		key    crypto.Signer
		hash   crypto.Hash
		opts   crypto.SignerOpts
		status int
	}{
		"P-256 sha256":        {ec(elliptic.P256()), crypto.SHA256, crypto.SHA256, 201},
		"P-384 sha384":        {ec(elliptic.P384()), crypto.SHA384, crypto.SHA384, 201},
		"P-384 sha256":        {ec(elliptic.P384()), crypto.SHA256, crypto.SHA256, 201},
		"P-521 sha512":        {ec(elliptic.P521()), crypto.SHA512, crypto.SHA512, 201},
		"RSA-2048 sha256":     {r2048, crypto.SHA256, crypto.SHA256, 201},
		"Ed25519ph":           {ed, crypto.SHA512, &ed25519.Options{Hash: crypto.SHA512}, 201},
		"P-224":               {ec(elliptic.P224()), crypto.SHA256, crypto.SHA256, 400},
		"RSA-1024":            {rsaKey(1024), crypto.SHA256, crypto.SHA256, 400},
		"RSA-PSS":             {r2048, crypto.SHA256, &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}, 400},
		"P-256 sha1":          {ec(elliptic.P256()), crypto.SHA1, crypto.SHA1, 400},
		"P-256 sha224":        {ec(elliptic.P256()), crypto.SHA224, crypto.SHA224, 400},
		"pure Ed25519":        {ed, crypto.SHA512, crypto.Hash(0), 400},
		"pure Ed25519 sha256": {ed, crypto.SHA256, crypto.Hash(0), 400},
	} {
		digest, sig := signWith(c.key, c.hash, c.opts)
		a := l.post(t, hashedRekord(names[c.hash], digest, sig, keyPEM(t, c.key.Public())))
		if a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		} else if a.status == 201 {
			l.verified(t, a)
		}
	}
	key := ec(elliptic.P256())
	digest, sig := signWith(key, crypto.SHA256, crypto.SHA256)
	pub := keyPEM(t, key.Public())
	for name, proposed := range map[string][]byte{
		"digest too short for its name": hashedRekord("sha384", digest, sig, pub),
		"digest too short":              hashedRekord("sha256", digest[:31], sig, pub),
		"digest too long":               hashedRekord("sha256", append(bytes.Clone(digest), 0), sig, pub),
		"no digest":                     hashedRekord("sha256", nil, sig, pub),
		"no algorithm":                  hashedRekord("", digest, sig, pub),
		"two PEM blocks":                hashedRekord("sha256", digest, sig, append(bytes.Clone(pub), pub...)),
		"text before the PEM block":     hashedRekord("sha256", digest, sig, append([]byte("x\n"), pub...)),
		"private key":                   hashedRekord("sha256", digest, sig, bytes.ReplaceAll(pub, []byte("PUBLIC"), []byte("PRIVATE"))),
		"DER":                           hashedRekord("sha256", digest, sig, []byte("0Y0")),
		"no key":                        hashedRekord("sha256", digest, sig, nil),
	} {
		if a := l.post(t, proposed); a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

package siglog_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/services/siglog"
)

// testLog is a log behind a real server, which can be restarted.
type testLog struct {
	*siglog.Log
	cfg    siglog.Config
	server *httptest.Server
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newConfig(t testing.TB) siglog.Config {
	t.Helper()
	_, v2, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return siglog.Config{Dir: filepath.Join(t.TempDir(), "siglog"), Hostname: "log.example", V1Key: newKey(t), V2Key: v2}
}

func newLog(t testing.TB) *testLog {
	t.Helper()
	l := &testLog{cfg: newConfig(t)}
	l.start(t)
	t.Cleanup(func() { l.server.Close(); l.Close() })
	return l
}

func (l *testLog) start(t testing.TB) {
	t.Helper()
	log, err := siglog.New(context.Background(), l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Log = log
	l.server = httptest.NewServer(log.Handler())
}

func (l *testLog) restart(t testing.TB) {
	t.Helper()
	l.server.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.start(t)
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// send makes a request; a body makes it a POST of JSON.
func (l *testLog) send(t testing.TB, path string, body []byte) answer {
	t.Helper()
	method := "GET"
	if body != nil {
		method = "POST"
	}
	req, err := http.NewRequestWithContext(t.Context(), method, l.server.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return l.do(t, req)
}

func (l *testLog) do(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := l.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b}
}

func (l *testLog) post(t testing.TB, body []byte) answer {
	t.Helper()
	return l.send(t, "/api/v1/log/entries", body)
}

// logEntry is what clients read of an answer.
type logEntry struct {
	Body           []byte
	IntegratedTime int64
	LogID          string
	LogIndex       int64
	Verification   struct {
		InclusionProof struct {
			Checkpoint, RootHash string
			Hashes               []string
			LogIndex, TreeSize   uint64
		}
		SignedEntryTimestamp []byte
	}
}

// verified reads an answer with one entry and verifies all that is in it.
func (l *testLog) verified(t testing.TB, a answer) (id string, e logEntry) {
	t.Helper()
	if a.status != 200 && a.status != 201 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	var m map[string]logEntry
	if err := json.Unmarshal(a.body, &m); err != nil || len(m) != 1 {
		t.Fatalf("%d entries, %v: %s", len(m), err, a.body)
	}
	for id, e = range m {
	}
	l.verify(t, id, e)
	return id, e
}

func (l *testLog) verify(t testing.TB, id string, e logEntry) {
	t.Helper()
	tree := l.V1()
	hash := tlog.LeafHash(e.Body)
	if len(id) != 80 || id[16:] != hex.EncodeToString(hash[:]) {
		t.Errorf("entry ID %s is not that of the leaf", id)
	}
	verifier, err := tlog.NewVerifier("log.example", tree.Key)
	if err != nil {
		t.Fatal(err)
	}
	proof := e.Verification.InclusionProof
	cp, err := verifier.Open(proof.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if cp.Origin != tree.Origin || cp.Size != proof.TreeSize || hex.EncodeToString(cp.Root[:]) != proof.RootHash {
		t.Errorf("the proof's tree is not the checkpoint's: %+v", proof)
	}
	var hashes [][]byte
	for _, h := range proof.Hashes {
		b, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, b)
	}
	if err := tlog.VerifyInclusion(hash, proof.LogIndex, hashes, cp); err != nil {
		t.Error(err)
	}
	if int64(proof.LogIndex) != e.LogIndex || e.LogID != hex.EncodeToString(tree.LogID[:]) {
		t.Errorf("index %d in the proof, %d in the entry; log %s", proof.LogIndex, e.LogIndex, e.LogID)
	}
	promise := entry.Promise{Body: e.Body, IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex, LogID: tree.LogID}
	if err := promise.Verify(tree.Key.(*ecdsa.PublicKey), e.Verification.SignedEntryTimestamp); err != nil {
		t.Error(err)
	}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func keyPEM(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// certPEM makes a certificate that nobody would trust: the log does not judge it.
func certPEM(t testing.TB, key crypto.Signer, emails ...string) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour), EmailAddresses: emails}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func hashedRekord(algorithm string, digest, signature, verifier []byte) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":%q,"value":%q}},"signature":{"content":%q,"publicKey":{"content":%q}}}}`,
		algorithm, hex.EncodeToString(digest), b64(signature), b64(verifier))
}

// sign makes a hashedrekord over a message with a P-256 key.
func sign(t testing.TB, key *ecdsa.PrivateKey, verifier []byte, message string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(message))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return hashedRekord("sha256", digest[:], sig, verifier)
}

func envelope(payloadType string, payload []byte, sigs ...[]byte) string {
	var list []string
	for _, s := range sigs {
		list = append(list, fmt.Sprintf(`{"sig":%q,"keyid":""}`, b64(s)))
	}
	return fmt.Sprintf(`{"payload":%q,"payloadType":%q,"signatures":[%s]}`, b64(payload), payloadType, strings.Join(list, ","))
}

func dsse(env string, verifiers ...[]byte) []byte {
	content, _ := json.Marshal(map[string]any{"envelope": env, "verifiers": verifiers})
	return fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"dsse","spec":{"proposedContent":%s,"signatures":null}}`, content)
}

const inToto = "application/vnd.in-toto+json"

func signEnvelope(t testing.TB, key *ecdsa.PrivateKey, verifier []byte, payload string) []byte {
	t.Helper()
	digest := sha256.Sum256(bundle.PAE(inToto, []byte(payload)))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return dsse(envelope(inToto, []byte(payload), sig), verifier)
}

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
		"oversize":           {request(good+strings.Repeat(" ", 5<<20), "application/json", ""), 413, "larger"},
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

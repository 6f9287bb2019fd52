package siglog_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
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

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

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

func keyDER(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func verifierV2(kind string, der []byte, keyDetails string) string {
	return fmt.Sprintf(`{%q:{"rawBytes":%q},"keyDetails":%q}`, kind, b64(der), keyDetails)
}

func hashedRekordV2(digest, signature []byte, verifier string) []byte {
	return fmt.Appendf(nil, `{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":%q,"verifier":%s}}}`, b64(digest), b64(signature), verifier)
}

const p256Details = "PKIX_ECDSA_P256_SHA_256"

// signV2 makes a Rekor v2 request over a message with a P-256 key.
func signV2(t testing.TB, key *ecdsa.PrivateKey, message string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(message))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return hashedRekordV2(digest[:], sig, verifierV2("publicKey", keyDER(t, key.Public()), p256Details))
}

func (l *testLog) postV2(t testing.TB, body []byte) answer {
	t.Helper()
	return l.send(t, "/api/v2/log/entries", body)
}

// verifiedV2 reads an answer of the v2 face as clients do, with protobuf's own
// parser, and verifies all that is in it.
func (l *testLog) verifiedV2(t testing.TB, a answer) *rekorpb.TransparencyLogEntry {
	t.Helper()
	if a.status != 201 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	var e rekorpb.TransparencyLogEntry
	if err := protojson.Unmarshal(a.body, &e); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	tree, proof := l.V2(), e.GetInclusionProof()
	verifier, err := tlog.NewVerifier("log.example", tree.Key)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := verifier.Open(proof.GetCheckpoint().GetEnvelope())
	if err != nil {
		t.Fatal(err)
	}
	if cp.Origin != "log.example" || int64(cp.Size) != proof.GetTreeSize() || !bytes.Equal(cp.Root[:], proof.GetRootHash()) {
		t.Errorf("the proof's tree is not the checkpoint's: %+v", proof)
	}
	if err := tlog.VerifyInclusion(tlog.LeafHash(e.GetCanonicalizedBody()), uint64(e.GetLogIndex()), proof.GetHashes(), cp); err != nil {
		t.Error(err)
	}
	if proof.GetLogIndex() != e.GetLogIndex() || !bytes.Equal(e.GetLogId().GetKeyId(), tree.LogID[:]) {
		t.Errorf("index %d in the proof, %d in the entry; log %x", proof.GetLogIndex(), e.GetLogIndex(), e.GetLogId().GetKeyId())
	}
	if kv := e.GetKindVersion(); kv.GetKind() != "hashedrekord" || kv.GetVersion() != "0.0.2" || e.GetInclusionPromise() != nil || e.GetIntegratedTime() != 0 {
		t.Errorf("not an entry of Rekor v2: %s", a.body)
	}
	return &e
}

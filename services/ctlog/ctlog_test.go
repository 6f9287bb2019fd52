package ctlog_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/services/ctlog"
)

// authority issues precertificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for the public key; a nil authority signs itself.
func (a *authority) issue(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(10*time.Minute)
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) issueCA(t *testing.T, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return &authority{a.issue(t, template, key), key}
}

func poison() pkix.Extension {
	return pkix.Extension{Id: sct.OIDPoison, Critical: true, Value: asn1.NullBytes}
}

// precert issues a leaf with the given extensions, a critical SAN that crypto/x509
// can't read among them, as Sigstore's user names are.
func (a *authority) precert(t *testing.T, extensions ...pkix.Extension) []byte {
	t.Helper()
	otherName := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: []byte{0x30, 0x0b, 0xa0, 0x09, 0x06, 0x02, 0x2a, 0x03, 0xa0, 0x03, 0x0c, 0x01, 0x78}}
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, ExtraExtensions: append(extensions, otherName)}
	return a.issue(t, template, newKey(t)).Raw
}

type world struct {
	*ctlog.Log
	cfg                ctlog.Config
	root, intermediate *authority
	server             *httptest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	w.root = (*authority)(nil).issueCA(t, "root")
	w.intermediate = w.root.issueCA(t, "intermediate")
	w.cfg = ctlog.Config{Dir: filepath.Join(t.TempDir(), "ct"), BaseURL: "https://stack.example:7465/ct/", Key: newKey(t), Roots: []*x509.Certificate{w.root.cert}, Submissions: true}
	w.start(t)
	t.Cleanup(func() { w.server.Close(); w.Close() })
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	log, err := ctlog.New(context.Background(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Log = log
	w.server = httptest.NewServer(log.Handler())
}

func (w *world) get(t *testing.T, path string) (int, []byte) {
	t.Helper()
	resp, err := w.server.Client().Get(w.server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func (w *world) verify(t *testing.T, s sct.SCT, precert []byte, index uint64) {
	t.Helper()
	cert, err := x509.ParseCertificate(precert)
	if err != nil {
		t.Fatal(err)
	}
	tbs, err := sct.PrecertTBS(cert.RawTBSCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(w.PublicKey().(*ecdsa.PublicKey), sha256.Sum256(w.intermediate.cert.RawSubjectPublicKeyInfo), tbs); err != nil {
		t.Error(err)
	}
	if got, found, err := sct.ParseLeafIndex(s.Extensions); got != index || !found || err != nil {
		t.Errorf("leaf index %d, %v, %v; want %d", got, found, err, index)
	}
	if s.LogID != w.ID() {
		t.Errorf("log ID %x", s.LogID)
	}
}

func TestAddPreChainSignsAfterSequencing(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		precert := w.intermediate.precert(t, poison())
		chain := [][]byte{precert, w.intermediate.cert.Raw}
		if i > 0 { // the root may be left out
			chain = append(chain, w.root.cert.Raw)
		}
		s, err := w.AddPreChain(t.Context(), chain)
		if err != nil {
			t.Fatal(err)
		}
		w.verify(t, s, precert, uint64(i))
		status, data := w.get(t, fmt.Sprintf("/ct/tile/data/000.p/%d", i+1))
		if status != 200 || !bytes.Contains(data, precert) {
			t.Errorf("the bundle: %d, %d bytes", status, len(data))
		}
		if status, tile := w.get(t, fmt.Sprintf("/ct/tile/0/000.p/%d", i+1)); status != 200 || len(tile) != (i+1)*sha256.Size {
			t.Errorf("the tile: %d, %d bytes", status, len(tile))
		}
	}
	status, checkpoint := w.get(t, "/ct/checkpoint")
	if status != 200 || !strings.HasPrefix(string(checkpoint), "stack.example:7465/ct\n3\n") || !strings.Contains(string(checkpoint), "\n\n— stack.example:7465/ct ") {
		t.Errorf("checkpoint: %d %s", status, checkpoint)
	}
	for _, cert := range []*x509.Certificate{w.intermediate.cert, w.root.cert} {
		if status, der := w.get(t, fmt.Sprintf("/ct/issuer/%x", sha256.Sum256(cert.Raw))); status != 200 || !bytes.Equal(der, cert.Raw) {
			t.Errorf("issuer: %d", status)
		}
	}
	for _, path := range []string{"/ct/issuer/00", "/ct/issuer/" + strings.Repeat("00", 32), "/ct/issuer/new-1", "/ct/v1/add-chain", "/ct/tile/entries/000.p/3", "/checkpoint"} {
		if status, _ := w.get(t, path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	var roots struct{ Certificates [][]byte }
	if status, b := w.get(t, "/ct/v1/get-roots"); status != 200 || json.Unmarshal(b, &roots) != nil || len(roots.Certificates) != 1 || !bytes.Equal(roots.Certificates[0], w.root.cert.Raw) {
		t.Errorf("roots: %d %s", status, b)
	}
}

func TestHTTPAnswerIsRFC6962s(t *testing.T) {
	w := newWorld(t)
	precert := w.intermediate.precert(t, poison())
	body, _ := json.Marshal(map[string]any{"chain": [][]byte{precert, w.intermediate.cert.Raw, w.root.cert.Raw}})
	resp, err := w.server.Client().Post(w.server.URL+"/ct/v1/add-pre-chain", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a struct {
		Version    *int `json:"sct_version"`
		ID         []byte
		Timestamp  uint64
		Extensions []byte
		Signature  []byte
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != 200 || a.Version == nil || *a.Version != 0 {
		t.Fatalf("%d, %v, %+v", resp.StatusCode, err, a)
	}
	id := w.ID()
	if !bytes.Equal(a.ID, id[:]) || !bytes.HasPrefix(a.Signature, []byte{4, 3}) || int(a.Signature[2])<<8+int(a.Signature[3]) != len(a.Signature)-4 {
		t.Fatalf("%+v", a)
	}
	w.verify(t, sct.SCT{LogID: id, Timestamp: a.Timestamp, Extensions: a.Extensions, Signature: a.Signature[4:]}, precert, 0)
}

func TestLOG28_ChainsThatAreNotTaken(t *testing.T) {
	w := newWorld(t)
	stranger := (*authority)(nil).issueCA(t, "root") // same name, other key
	strangerCA := stranger.issueCA(t, "intermediate")
	root, intermediate := w.root.cert.Raw, w.intermediate.cert.Raw
	good := w.intermediate.precert(t, poison())
	notCritical, notNull, wrongList := poison(), poison(), poison()
	notCritical.Critical = false
	notNull.Value = []byte{5, 1, 0}
	wrongList.Id = sct.OIDList
	ca := w.intermediate.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, ExtraExtensions: []pkix.Extension{poison()}}, newKey(t))
	leafKey := newKey(t)
	leaf := &authority{w.intermediate.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "leaf"}}, leafKey), leafKey}

	for name, chain := range map[string][][]byte{
		"unknown root":             {strangerCA.precert(t, poison()), strangerCA.cert.Raw, stranger.cert.Raw},
		"unknown root left out":    {strangerCA.precert(t, poison()), strangerCA.cert.Raw},
		"other key, same names":    {strangerCA.precert(t, poison()), intermediate, root},
		"authority's certificate":  {ca.Raw, intermediate, root},
		"issued by a leaf":         {leaf.precert(t, poison()), leaf.cert.Raw, intermediate, root},
		"no poison":                {w.intermediate.precert(t), intermediate, root},
		"poison twice":             {w.intermediate.precertTwice(t), intermediate, root},
		"poison not critical":      {w.intermediate.precert(t, notCritical), intermediate, root},
		"poison not NULL":          {w.intermediate.precert(t, notNull), intermediate, root},
		"timestamps already there": {w.intermediate.precert(t, poison(), wrongList), intermediate, root},
		"wrong issuer":             {good, root},
		"wrong order":              {good, root, intermediate},
		"issuer missing":           {good},
		"empty":                    {},
		"null":                     {nil},
		"garbage":                  {[]byte("garbage"), intermediate, root},
		"trailing data":            {append(bytes.Clone(good), 0), intermediate, root},
		"too long":                 {good, intermediate, root, root, root, root, root, root, root},
		"too large":                {make([]byte, 100<<10), intermediate, root},
		"flipped signature bit":    {flipLast(good), intermediate, root},
	} {
		_, err := w.AddPreChain(t.Context(), chain)
		var refused *ctlog.RejectedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
		body, _ := json.Marshal(map[string]any{"chain": chain})
		resp, err := w.server.Client().Post(w.server.URL+"/ct/v1/add-pre-chain", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
	for name, body := range map[string]string{
		"empty": "", "null": "null", "chain null": `{"chain":null}`, "element null": `{"chain":[null]}`, "not base64": `{"chain":["%"]}`,
		"repeated": `{"chain":[],"chain":[]}`, "trailing": `{"chain":[]}{}`, "unknown field": `{"chain":[],"x":1}`, "wrong type": `[]`,
	} {
		resp, err := w.server.Client().Post(w.server.URL+"/ct/v1/add-pre-chain", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("body %s: status %d", name, resp.StatusCode)
		}
	}
	if _, checkpoint := w.get(t, "/ct/checkpoint"); !strings.Contains(string(checkpoint), "\n0\n") {
		t.Errorf("something was sequenced: %s", checkpoint)
	}
	if _, err := w.AddPreChain(t.Context(), [][]byte{good, intermediate, root}); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func flipLast(der []byte) []byte {
	out := bytes.Clone(der)
	out[len(out)-1] ^= 1
	return out
}

// precertTwice makes a precertificate with two poisons, which crypto/x509 would not
// make: it replaces another extension's identifier and signs again.
func (a *authority) precertTwice(t *testing.T) []byte {
	t.Helper()
	twin := poison()
	twin.Id = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 9}
	cert, err := x509.ParseCertificate(a.precert(t, poison(), twin))
	if err != nil {
		t.Fatal(err)
	}
	from := []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x09}
	to := []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03}
	tbs := bytes.Replace(cert.RawTBSCertificate, from, to, 1)
	digest := sha256.Sum256(tbs)
	sig, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestLOG29_EveryTimestampHasOneLeafIndex(t *testing.T) {
	w := newWorld(t)
	const n = 20
	type result struct {
		precert []byte
		s       sct.SCT
	}
	results := make(chan result, n)
	for range n {
		precert := w.intermediate.precert(t, poison())
		go func() {
			s, err := w.AddPreChain(context.Background(), [][]byte{precert, w.intermediate.cert.Raw, w.root.cert.Raw})
			if err != nil {
				t.Error(err)
			}
			results <- result{precert, s}
		}()
	}
	seen := map[uint64]bool{}
	for range n {
		r := <-results
		if len(r.s.Extensions) != 8 {
			t.Fatalf("extensions %x", r.s.Extensions)
		}
		index, found, err := sct.ParseLeafIndex(r.s.Extensions)
		if err != nil || !found || seen[index] || index >= n {
			t.Fatalf("index %d, %v, %v", index, found, err)
		}
		seen[index] = true
		w.verify(t, r.s, r.precert, index)
	}
}

func TestRestartKeepsTheLogAndRefusesAnother(t *testing.T) {
	w := newWorld(t)
	add := func(index uint64) {
		t.Helper()
		precert := w.intermediate.precert(t, poison())
		s, err := w.AddPreChain(t.Context(), [][]byte{precert, w.intermediate.cert.Raw})
		if err != nil {
			t.Fatal(err)
		}
		w.verify(t, s, precert, index)
	}
	add(0)
	w.server.Close()
	if _, err := ctlog.New(t.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second writer: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ctlog.Config){
		"other key":      func(c *ctlog.Config) { c.Key = newKey(t) },
		"other base URL": func(c *ctlog.Config) { c.BaseURL = "https://other.example/ct" },
		"no roots":       func(c *ctlog.Config) { c.Roots = nil },
		"relative URL":   func(c *ctlog.Config) { c.BaseURL = "/ct" },
		"no key":         func(c *ctlog.Config) { c.Key = nil },
	} {
		cfg := w.cfg
		change(&cfg)
		if log, err := ctlog.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: opened", name)
			log.Close()
		}
	}
	w.start(t)
	add(1)
	// A damaged issuer is not served.
	issuer := filepath.Join(w.cfg.Dir, "issuer", fmt.Sprintf("%x", sha256.Sum256(w.root.cert.Raw)))
	if err := os.WriteFile(issuer, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _ := w.get(t, fmt.Sprintf("/ct/issuer/%x", sha256.Sum256(w.root.cert.Raw))); status != http.StatusInternalServerError {
		t.Errorf("a damaged issuer: %d", status)
	}
}

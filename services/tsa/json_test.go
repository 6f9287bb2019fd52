package tsa

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/tsp"
)

func (w *world) postJSON(t testing.TB, body string) (int, []byte) {
	t.Helper()
	response, err := http.Post(w.url+"/api/v1/timestamp", "application/json; charset=utf-8", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, must(io.ReadAll(response.Body))
}

// A request in JSON, as Sigstore's JavaScript packages send it, gets the timestamp that the same request in DER gets.
func TestJSONRequest(t *testing.T) {
	w := newWorld(t)
	message := []byte("message")
	hash := base64.StdEncoding.EncodeToString(sha256Of(message))
	status, reply := w.postJSON(t, fmt.Sprintf(`{"artifactHash":%q,"hashAlgorithm":"sha256"}`, hash))
	if status != http.StatusCreated {
		t.Fatalf("status %d: %s", status, reply)
	}
	token := must(tsp.Parse(reply))
	if err := token.Verify(message, w.authority()); err != nil {
		t.Error(err)
	}
	if token.Nonce != nil || bytes.Contains(reply, w.chain[0].Raw) {
		t.Error("the token has a nonce or a certificate that nobody asked for")
	}

	sum := sha512.Sum512(message)
	status, reply = w.postJSON(t, fmt.Sprintf(`{"artifactHash":%q,"hashAlgorithm":"SHA512","nonce":18446744073709551616,"certificates":true,"tsaPolicyOID":%q}`,
		base64.StdEncoding.EncodeToString(sum[:]), Policy))
	if status != http.StatusCreated {
		t.Fatalf("status %d: %s", status, reply)
	}
	token = must(tsp.Parse(reply))
	if err := token.Verify(message, w.authority()); err != nil {
		t.Error(err)
	}
	if want := new(big.Int).Lsh(big.NewInt(1), 64); token.Nonce == nil || token.Nonce.Cmp(want) != 0 || !bytes.Contains(reply, w.chain[0].Raw) {
		t.Errorf("nonce %v, want %v, and the certificate", token.Nonce, want)
	}
}

func TestJSONRequestRefused(t *testing.T) {
	w := newWorld(t)
	hash := base64.StdEncoding.EncodeToString(sha256Of([]byte("message")))
	good := fmt.Sprintf(`"artifactHash":%q,"hashAlgorithm":"sha256"`, hash)
	for name, test := range map[string]struct {
		body, want string
		status     int
	}{
		"good":              {"{" + good + "}", "", 201},
		"not JSON":          {"<xml/>", "invalid character", 400},
		"empty":             {"", "EOF", 400},
		"field twice":       {`{"hashAlgorithm":"sha512",` + good + "}", "duplicate", 400},
		"unknown field":     {`{"hash":"x",` + good + "}", "unknown", 400},
		"no algorithm":      {fmt.Sprintf(`{"artifactHash":%q}`, hash), "hashAlgorithm", 400},
		"weak algorithm":    {fmt.Sprintf(`{"artifactHash":%q,"hashAlgorithm":"sha1"}`, hash), "hashAlgorithm", 400},
		"no base64":         {`{"artifactHash":"!","hashAlgorithm":"sha256"}`, "artifactHash", 400},
		"another policy":    {`{"tsaPolicyOID":"1.2.3",` + good + "}", "tsaPolicyOID", 400},
		"negative nonce":    {`{"nonce":-1,` + good + "}", "nonce", 400},
		"nonce too long":    {`{"nonce":1` + strings.Repeat("0", 200) + "," + good + "}", "nonce", 400},
		"too long":          {`{"nonce":1` + strings.Repeat("0", 1100) + "," + good + "}", "at most", 400},
		"longer than a DER": {strings.Repeat(" ", maxRequest) + "{" + good + "}", "at most", 413},
	} {
		status, reply := w.postJSON(t, test.body)
		if status != test.status || !bytes.Contains(reply, []byte(test.want)) {
			t.Errorf("%s: status %d, want %d with %q: %s", name, status, test.status, test.want, reply)
		}
	}
	// A digest of another length is refused as in DER: with a TimeStampResp that says so.
	status, reply := w.postJSON(t, `{"artifactHash":"aGVsbG8=","hashAlgorithm":"sha256"}`)
	if _, err := tsp.Parse(reply); status != http.StatusOK || err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("short digest: status %d, error %v", status, err)
	}
}

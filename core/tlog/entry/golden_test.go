package entry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/touchmark/touchmark/core/tlog"
)

// TestHashedRekordV002Golden holds the body and leaf hash that rekor-tiles
// makes for the P-256 key with d=1 over sha256("hello").
func TestHashedRekordV002Golden(t *testing.T) {
	one := make([]byte, 32)
	one[31] = 1
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), one)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("hello"))
	sig, _ := hex.DecodeString("3006020101020101")
	body, err := HashedRekordV002(digest[:], sig, Verifier{Key: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="},"signature":{"content":"MAYCAQECAQE=","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{"rawBytes":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q=="}}}}}}`
	if string(body) != want {
		t.Errorf("body is\n%s\nwant\n%s", body, want)
	}
	leaf := tlog.LeafHash(body)
	if got, want := hex.EncodeToString(leaf[:]), "227c668681f6dcc976b7cf1bb140cc4f9309c3f01e5d3684a60ef2050aee9c4e"; got != want {
		t.Errorf("leaf hash is %s, want %s", got, want)
	}
}

// TestPromiseText holds the text that a signed entry timestamp signs.
func TestPromiseText(t *testing.T) {
	text, err := Promise{Body: []byte("foo"), IntegratedTime: 1700000000, LogIndex: 7}.signed()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"body":"Zm9v","integratedTime":1700000000,"logID":"0000000000000000000000000000000000000000000000000000000000000000","logIndex":7}`
	if string(text) != want {
		t.Errorf("text is %s, want %s", text, want)
	}
}

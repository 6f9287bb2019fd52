package siglog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/tlog"
)

func (l *testLog) getJSON(t testing.TB, path string, out any) {
	t.Helper()
	a := l.send(t, path, nil)
	if a.status != 200 {
		t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		t.Fatal(err)
	}
}

func (l *testLog) wantSearch(t *testing.T, query string, want ...string) {
	t.Helper()
	a := l.send(t, "/api/v1/index/retrieve", []byte(query))
	var got []string
	if err := json.Unmarshal(a.body, &got); a.status != 200 || err != nil {
		t.Errorf("search %.100s: %d %s", query, a.status, a.body)
		return
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Errorf("search %.100s (-want +got):\n%s", query, diff)
	}
}

func TestLOG05_VariantsOfOneEntryHaveOneBody(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	pub := keyPEM(t, key.Public())
	plain := sign(t, key, pub, "a")
	id, _ := l.verified(t, l.post(t, plain))
	crlf := bytes.ReplaceAll(pub, []byte("\n"), []byte("\r\n"))
	block, _ := pem.Decode(pub)
	block.Headers = map[string]string{"Comment": "x"}
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte("a")))
	for name, variant := range map[string]string{
		"white space":         " " + strings.ReplaceAll(string(plain), ":", " :\n\t") + "\n",
		"upper case digest":   strings.Replace(string(plain), digest, strings.ToUpper(digest), 1),
		"escaped text":        strings.Replace(string(plain), "hashedrekord", `hashed\u0072ekord`, 1),
		"PEM with CRLF":       strings.Replace(string(plain), b64(pub), b64(crlf), 1),
		"PEM with headers":    strings.Replace(string(plain), b64(pub), b64(pem.EncodeToMemory(block)), 1),
		"PEM with space":      strings.Replace(string(plain), b64(pub), b64(append([]byte("\n\n"), append(pub, '\n', ' ')...)), 1),
		"PEM without newline": strings.Replace(string(plain), b64(pub), b64(bytes.TrimSpace(pub)), 1),
		"other member order":  strings.Replace(string(plain), `"apiVersion":"0.0.1","kind":"hashedrekord"`, `"kind":"hashedrekord","apiVersion":"0.0.1"`, 1),
	} {
		if variant == string(plain) {
			t.Fatalf("%s is no variant", name)
		}
		if got, _ := l.verified(t, l.post(t, []byte(variant))); got != id {
			t.Errorf("%s: another entry", name)
		}
	}
}

func TestA075_NullAtEachPointer(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	pub := keyPEM(t, key.Public())
	for kind, proposed := range map[string][]byte{"hashedrekord": sign(t, key, pub, "a"), "dsse": signEnvelope(t, key, pub, "{}")} {
		var doc any
		if err := json.Unmarshal(proposed, &doc); err != nil {
			t.Fatal(err)
		}
		tried := 0
		// Each place holds null, and each other kind of value, in turn.
		everyPlace(doc, func(pointer string, set func(any)) {
			for _, value := range []any{nil, true, -1.5, "", "null", []any{}, []any{nil}, map[string]any{}, map[string]any{"x": nil}} {
				old := set
				old(value)
				variant, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				if pointer == "/spec/signatures" && (value == nil || cmp.Equal(value, []any{})) {
					continue // what clients send
				}
				a := l.post(t, variant)
				if a.status < 400 || a.status > 499 {
					t.Errorf("%s: %v at %s: %d %s", kind, value, pointer, a.status, a.body)
				}
				tried++
			}
		})
		if a := l.post(t, []byte("null")); a.status != 400 {
			t.Errorf("null: %d", a.status)
		}
		if tried < 60 {
			t.Fatalf("%s: only %d variants", kind, tried)
		}
		l.verified(t, l.post(t, proposed))
	}
	// The envelope is JSON in a string.
	for _, env := range []string{"null", `{"payload":null,"payloadType":"x","signatures":[{"sig":"AA=="}]}`, `{"payload":"","payloadType":null,"signatures":[{"sig":"AA=="}]}`,
		`{"payload":"","payloadType":"x","signatures":null}`, `{"payload":"","payloadType":"x","signatures":[null]}`, `{"payload":"","payloadType":"x","signatures":[{"sig":null}]}`, "", "[]", "{}{}"} {
		if a := l.post(t, dsse(env, pub)); a.status != 400 {
			t.Errorf("envelope %s: %d %s", env, a.status, a.body)
		}
	}
	for _, path := range []string{"/api/v1/log/entries/retrieve", "/api/v1/index/retrieve"} {
		for _, body := range []string{"", "[]", `{"entryUUIDs":[null]}`, `{"logIndexes":[null]}`, `{"entries":[null]}`, `{"entries":[{}]}`, `{"logIndexes":[-1]}`, `{"hash":null}{}`, `{"x":1}`, `{"publicKey":{}}`, `{"hash":1}`} {
			if a := l.send(t, path, []byte(body)); a.status < 400 || a.status > 499 {
				t.Errorf("%s %s: %d %s", path, body, a.status, a.body)
			}
		}
	}
}

// everyPlace calls visit for every value below v with a function that replaces it;
// the old value is put back afterwards.
func everyPlace(v any, visit func(pointer string, set func(any))) {
	var walk func(pointer string, v any)
	walk = func(pointer string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, old := range v {
				visit(pointer+"/"+name, func(x any) { v[name] = x })
				v[name] = old
				walk(pointer+"/"+name, old)
			}
		case []any:
			for i, old := range v {
				visit(fmt.Sprintf("%s/%d", pointer, i), func(x any) { v[i] = x })
				v[i] = old
				walk(fmt.Sprintf("%s/%d", pointer, i), old)
			}
		}
	}
	walk("", v)
}

func TestSearch(t *testing.T) {
	l := newLog(t)
	key, other := newKey(t), newKey(t)
	pub, cert, otherCert := keyPEM(t, key.Public()), certPEM(t, key, "Alice@Acme.example"), certPEM(t, other, "bob@acme.example")
	idA, _ := l.verified(t, l.post(t, sign(t, key, pub, "a")))
	idB, _ := l.verified(t, l.post(t, sign(t, key, cert, "b")))
	idC, _ := l.verified(t, l.post(t, sign(t, other, otherCert, "a")))
	image := strings.Repeat("ab", 32)
	statement := fmt.Sprintf(`{"subject":[{"digest":{"sha256":%q}},{"digest":{"sha256":"xyz"}}]}`, image)
	idD, _ := l.verified(t, l.post(t, signEnvelope(t, other, otherCert, statement)))
	hashA := fmt.Sprintf("%x", sha256.Sum256([]byte("a")))

	l.wantSearch(t, fmt.Sprintf(`{"hash":"sha256:%s"}`, hashA), idC, idA)
	l.wantSearch(t, fmt.Sprintf(`{"hash":%q}`, strings.ToUpper(hashA)), idC, idA)
	l.wantSearch(t, `{"email":"alice@acme.EXAMPLE"}`, idB)
	l.wantSearch(t, `{"subject":"bob@acme.example"}`, idD, idC)
	l.wantSearch(t, fmt.Sprintf(`{"hash":"sha256:%s"}`, image), idD)
	l.wantSearch(t, fmt.Sprintf(`{"publicKey":{"format":"x509","content":%q}}`, b64(pub)), idB, idA)
	l.wantSearch(t, fmt.Sprintf(`{"publicKey":{"format":"x509","content":%q}}`, b64(cert)), idB)
	l.wantSearch(t, fmt.Sprintf(`{"hash":"sha256:%s","email":"bob@acme.example","operator":"and"}`, hashA), idC)
	l.wantSearch(t, fmt.Sprintf(`{"hash":"sha256:%s","email":"alice@acme.example"}`, hashA), idC, idA, idB)
	l.wantSearch(t, `{"email":"nobody@acme.example"}`)
	for _, bad := range []string{`{}`, `{"hash":"sha256:ab"}`, `{"hash":"md5:` + hashA + `"}`, `{"hash":"sha512:` + hashA + `"}`, `{"email":"a","operator":"xor"}`,
		`{"publicKey":{"format":"pgp","content":""}}`, `{"publicKey":{"format":"x509","url":"http://127.0.0.1/"}}`, `{"publicKey":{"format":"x509","content":"AA=="}}`} {
		if a := l.send(t, "/api/v1/index/retrieve", []byte(bad)); a.status != 400 {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
}

func TestReadsThatFindNothing(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	id, _ := l.verified(t, l.post(t, sign(t, key, keyPEM(t, key.Public()), "a")))
	otherTree := "0000000000000001" + id[16:]
	for path, want := range map[string]int{
		"/api/v1/log/entries?logIndex=0":                      200,
		"/api/v1/log/entries?logIndex=1":                      404,
		"/api/v1/log/entries?logIndex=9223372036854775807":    404,
		"/api/v1/log/entries?logIndex=9223372036854775808":    400,
		"/api/v1/log/entries?logIndex=-1":                     400,
		"/api/v1/log/entries?logIndex=x":                      400,
		"/api/v1/log/entries":                                 400,
		"/api/v1/log/entries/" + strings.ToUpper(id):          200,
		"/api/v1/log/entries/" + otherTree:                    404,
		"/api/v1/log/entries/" + strings.Repeat("0", 64):      404,
		"/api/v1/log/entries/" + strings.Repeat("0", 80):      400,
		"/api/v1/log/entries/" + "ffffffffffffffff" + id[16:]: 400,
		"/api/v1/log/entries/" + id[1:]:                       400,
		"/api/v1/log/entries/" + strings.Repeat("z", 64):      400,
		"/api/v1/log/proof?lastSize=1":                        200,
		"/api/v1/log/proof?firstSize=0&lastSize=1":            400,
		"/api/v1/log/proof?firstSize=1&lastSize=2":            400,
		"/api/v1/log/proof?firstSize=2&lastSize=1":            400,
		"/api/v1/log/proof":                                   400,
		"/api/v1/log/proof?lastSize=1&treeID=7":               400,
		"/api/v1/log/publicKey":                               200,
		"/api/v1/log/publicKey?treeID=7":                      400,
		"/api/v1/nothing":                                     404,
		"/":                                                   404,
	} {
		a := l.send(t, path, nil)
		if a.status != want {
			t.Errorf("%s: %d %s; want %d", path, a.status, a.body, want)
		}
		if bodyless := want == 404 && strings.Contains(path, "/entries"); bodyless && len(a.body) != 0 {
			t.Errorf("%s: 404 with body %s", path, a.body)
		}
	}
	ids := func(n int) []byte {
		return []byte(`{"entryUUIDs":["` + strings.Join(slices.Repeat([]string{id}, n), `","`) + `"]}`)
	}
	for n, want := range map[int]int{10: 200, 11: 422} {
		if a := l.send(t, "/api/v1/log/entries/retrieve", ids(n)); a.status != want {
			t.Errorf("%d entries: %d", n, a.status)
		}
	}
	a := l.send(t, "/api/v1/log/entries/retrieve", []byte(`{"entryUUIDs":["`+otherTree+`","`+strings.Repeat("0", 64)+`"],"logIndexes":[7]}`))
	if a.status != 200 || strings.TrimSpace(string(a.body)) != "[]" {
		t.Errorf("retrieving what is not there: %d %s", a.status, a.body)
	}
}

func TestLogInfoAndKey(t *testing.T) {
	l := newLog(t)
	var info struct {
		RootHash, SignedTreeHead, TreeID string
		TreeSize                         uint64
		InactiveShards                   []any
	}
	l.getJSON(t, "/api/v1/log", &info)
	verifier, err := tlog.NewVerifier("log.example", l.V1().Key)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := verifier.Open(info.SignedTreeHead)
	if err != nil {
		t.Fatal(err)
	}
	if cp.Origin != "log.example - "+info.TreeID || info.InactiveShards == nil || cp.Size != 0 || fmt.Sprintf("%x", cp.Root) != info.RootHash {
		t.Errorf("%+v", info)
	}
	a := l.send(t, "/api/v1/log/publicKey", nil)
	if a.header.Get("Content-Type") != "application/x-pem-file" || !bytes.Equal(a.body, keyPEM(t, l.V1().Key)) {
		t.Errorf("%v %s", a.header, a.body)
	}
}

func TestFloodIsTurnedAway(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	good := sign(t, key, keyPEM(t, key.Public()), "a")
	// Requests whose bodies never end hold all places.
	const places = 128
	var ends []*io.PipeWriter
	defer func() {
		for _, w := range ends {
			w.Close()
		}
	}()
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	entered := make(chan struct{}, places)
	for range places {
		r, w := io.Pipe()
		ends = append(ends, w)
		req, err := http.NewRequestWithContext(t.Context(), "POST", l.server.URL+"/api/v1/log/entries", r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Expect", "100-continue") // the body follows when the log reads it
		go func() {
			if resp, err := client.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		go func() {
			if _, err := w.Write([]byte(" ")); err == nil {
				entered <- struct{}{}
			}
		}()
	}
	for range places {
		<-entered
	}
	a := l.post(t, good)
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Fatalf("with all places taken: %d %s", a.status, a.body)
	}
	for _, w := range ends {
		w.Close()
	}
	ends = nil
	for {
		a := l.post(t, good)
		if a.status == 503 {
			continue
		}
		l.verified(t, a)
		break
	}
}

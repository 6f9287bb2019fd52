package proxyfailures_test

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/registry-proxy/peers"
)

// beside is something beside the registry that the proxy asks or tells.
type beside struct {
	name    string
	handler http.Handler
	part    string // of a path, where the fault is; empty for all of it
	config  string // with URL in the place of its URL
	// token makes what a client shows who needs it; nil if no client does.
	token func(issuer string) string
	// password is what one shows who does not; empty if none has to.
	password string
}

// besideShare is of how many combinations make test runs one. FAILURES=all runs all of them.
const besideShare = 5

// PX-25: an issuer of ID tokens, a replica and a collector of traces fail in every way, and lie. Whoever needs none of them is served as before; whose token
// cannot be checked is turned away or told to wait, and nobody gets what nobody signed.
func TestPX25_BesideTheRegistry(t *testing.T) {
	t.Parallel()
	all, root := flavours(t)
	f, b := all[0], newBench(t, root)
	upstream := &faulty{good: f.upstream.handler, parts: f.names()}
	url := upstream.serve(t)
	defer upstream.end()
	every := besideShare
	if os.Getenv("FAILURES") == "all" {
		every = 1
	}
	faults := append(answerFaults(), fault{name: "no keys", wellFormed: true, answer: func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
		io.WriteString(w, `{"keys":[]}`)
	}})
	var wg sync.WaitGroup
	room := make(chan struct{}, 64) // most of them wait
	for i, side := range besides(t, b, f) {
		run := func(fault fault, dead bool) {
			room <- struct{}{}
			defer func() { <-room }()
			if problem := side.run(b, f, url, fault, dead); problem != "" {
				t.Errorf("%s: %s: %s", side.name, cmp.Or(fault.name, fmt.Sprintf("nobody listens %v", dead)), problem)
			}
		}
		wg.Go(func() { run(fault{}, false) })
		wg.Go(func() { run(fault{}, true) })
		for j, fault := range faults {
			if (i+j)%every == 0 {
				wg.Go(func() { run(fault, false) })
			}
		}
	}
	wg.Wait()
}

// besides are all of them, as they should be; the last replica is one that lies.
func besides(t *testing.T, b *bench, f *flavour) []*beside {
	t.Helper()
	secret := []byte(strings.Repeat("0123456789abcdef", 4))
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"peers.secret": string(secret) + "\n", "users": "alice:" + string(hash) + "\n"} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replica := func(name string, digests ...string) *beside {
		handler, err := peers.Handler(secret, nil, func(string, v1.Hash) (holders []v1.Hash) {
			for _, d := range digests {
				h, _ := v1.NewHash(d)
				holders = append(holders, h)
			}
			return holders
		})
		if err != nil {
			t.Fatal(err)
		}
		return &beside{name: name, handler: handler, config: "peers: {listen: \"127.0.0.1:0\", urls: [\"URL\"], secretFile: ../peers.secret}\n"}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}}
	issuer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if url := "http://" + r.Host; r.URL.Path == "/keys" {
			json.NewEncoder(w).Encode(keys)
		} else {
			json.NewEncoder(w).Encode(map[string]any{"issuer": url, "jwks_uri": url + "/keys", "authorization_endpoint": url, "token_endpoint": url, "id_token_signing_alg_values_supported": []string{"ES256"}})
		}
	})
	const auth = "auth: {htpasswd: ../users, oidc: [{issuer: \"URL\", audience: proxy}]}\n"
	token := func(issuer string) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := jwt.Signed(signer).Claims(map[string]any{"iss": issuer, "aud": "proxy", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	return []*beside{
		{name: "issuer", handler: issuer, config: auth, part: "/.well-known", token: token, password: "right"},
		{name: "issuer's keys", handler: issuer, config: auth, part: "/keys", token: token, password: "right"},
		replica("replica", f.good.manifest, f.good.index),
		replica("replica that lies", f.bad.manifest, f.bad.index, f.good.layer, digestOf([]byte("nothing"))),
		{name: "collector", handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), config: "tracing: {endpoint: \"URL\"}\n"},
	}
}

// besideFault is one of them with a fault.
type besideFault struct {
	*beside
	fault fault
}

// ServeHTTP implements http.Handler.
func (s besideFault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // until then the server does not see that whoever asked is gone
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r)
	if s.fault.answer != nil && strings.Contains(r.URL.Path, s.part) {
		s.fault.answer(w, r, rec)
		return
	}
	pass(w, rec, rec.Body.Bytes(), rec.Body.Len())
}

// run says what is wrong with what a new proxy answers.
func (s *beside) run(b *bench, f *flavour, upstream string, with fault, dead bool) (problem string) {
	server := httptest.NewUnstartedServer(besideFault{s, with})
	server.Config.ErrorLog = quiet
	server.Start()
	defer server.Close()
	defer server.CloseClientConnections()
	url := server.URL
	if dead {
		url = "http://127.0.0.1:1"
	}
	proxy, stop, err := b.front(upstream, f.policy(""), strings.ReplaceAll(s.config, "URL", url))
	if err != nil {
		return err.Error()
	}
	defer stop()
	var problems []string
	for i, e := range slices.Backward(entries()) { // blobs before the manifests that list them
		if e.path(f.repository, f.good) == "" {
			continue
		}
		c := combination{flavour: f, entry: e, fault: fault{name: "beside"}}
		authorized := &authorizing{}
		client := &http.Client{Transport: authorized}
		if s.password != "" {
			authorized.user, authorized.password = "alice", s.password
		}
		if e.path(f.repository, f.bad) != "" {
			if wrong := c.wrongOfBad(ask(client, proxy, e, f.repository, f.bad)); wrong != "" {
				problems = append(problems, e.name+" of what nobody signed: "+wrong)
			}
		}
		if e.before != nil {
			first := e
			first.path = e.before
			ask(client, proxy, first, f.repository, f.good)
		}
		c.fault.name = ""
		if wrong := c.wrongOfGood(ask(client, proxy, e, f.repository, f.good)); wrong != "" {
			problems = append(problems, e.name+": "+wrong)
		}
		if s.token == nil || i > 0 { // an issuer that is silent takes its time
			continue
		}
		authorized.password, authorized.token = "", s.token(url)
		r := ask(client, proxy, e, f.repository, f.good)
		switch failing := with.answer != nil || dead; {
		case r.status == http.StatusOK && !(e.method == http.MethodGet && !bytes.Equal(r.body, f.good.indexBody)):
		case failing && (r.status == http.StatusUnauthorized || r.status == http.StatusServiceUnavailable || r.status == 0 && with.slow):
		default:
			problems = append(problems, fmt.Sprintf("%s with a token: %d %.200q %v", e.name, r.status, r.body, r.err))
		}
	}
	return strings.Join(problems, "; ")
}

// authorizing is a client's transport that shows a password, or a token.
type authorizing struct{ user, password, token string }

// RoundTrip implements http.RoundTripper.
func (a *authorizing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	switch {
	case a.token != "":
		r.Header.Set("Authorization", "Bearer "+a.token)
	case a.password != "":
		r.SetBasicAuth(a.user, a.password)
	}
	return http.DefaultTransport.RoundTrip(r)
}

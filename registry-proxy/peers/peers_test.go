package peers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var (
	secret = []byte(strings.Repeat("s", MinSecret))
	blobA  = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	one    = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}
	two    = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("2", 64)}
)

// replica serves what it knows about blobA in r.example/app.
func replica(t *testing.T, key []byte, now func() time.Time, known ...v1.Hash) string {
	t.Helper()
	h, err := Handler(key, now, func(repository string, digest v1.Hash) []v1.Hash {
		if repository == "r.example/app" && digest == blobA {
			return known
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func client(t *testing.T, c Config) *Client {
	t.Helper()
	if c.Secret == nil {
		c.Secret = secret
	}
	made, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestAsksAllAndMergesWhatTheyKnow(t *testing.T) {
	c := client(t, Config{URLs: []string{replica(t, secret, nil, one, two), replica(t, secret, nil, two), replica(t, secret, nil)}})
	got := c.Holders(t.Context(), "r.example/app", blobA)
	if len(got) != 2 {
		t.Errorf("%v", got)
	}
	for repository, digest := range map[string]v1.Hash{"r.example/other": blobA, "r.example/app": one} {
		if got := c.Holders(t.Context(), repository, digest); len(got) != 0 {
			t.Errorf("%s %s: %v", repository, digest, got)
		}
	}
}

func TestDNSNamesAllReplicas(t *testing.T) {
	at, err := url.Parse(replica(t, secret, nil, one))
	if err != nil {
		t.Fatal(err)
	}
	lookups := 0
	now := time.Now()
	c := client(t, Config{
		DNS: "http://proxies.example:" + at.Port(), Now: func() time.Time { return now },
		Lookup: func(_ context.Context, host string) ([]string, error) {
			lookups++
			if host != "proxies.example" {
				return nil, errors.New("no such host")
			}
			return []string{"127.0.0.1"}, nil
		},
	})
	for range 3 {
		if diff := cmp.Diff([]v1.Hash{one}, c.Holders(t.Context(), "r.example/app", blobA)); diff != "" {
			t.Error(diff)
		}
	}
	now = now.Add(namesFresh)
	c.Holders(t.Context(), "r.example/app", blobA)
	if lookups != 2 {
		t.Errorf("%d lookups", lookups)
	}
}

// TestOnlyReplicasAreHeardAndAnswered: neither side believes who does not have the secret, and repeats are useless.
func TestOnlyReplicasAreHeardAndAnswered(t *testing.T) {
	other := []byte(strings.Repeat("o", MinSecret))
	if got := client(t, Config{URLs: []string{replica(t, other, nil, one)}}).Holders(t.Context(), "r.example/app", blobA); len(got) != 0 {
		t.Errorf("a replica with another secret: %v", got)
	}
	impostor := func(answer http.HandlerFunc) {
		t.Helper()
		server := httptest.NewServer(answer)
		defer server.Close()
		if got := client(t, Config{URLs: []string{server.URL}}).Holders(t.Context(), "r.example/app", blobA); len(got) != 0 {
			t.Errorf("an impostor was heard: %v", got)
		}
	}
	body := `{"holders":["` + one.String() + `"]}`
	impostor(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
	impostor(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerMAC, mac(secret, "answer", "another nonce", "r.example/app", blobA.String(), body))
		io.WriteString(w, body)
	})
	impostor(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", replica(t, secret, nil, one)+r.URL.RequestURI())
		w.WriteHeader(http.StatusFound)
	})
	signed := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			nonce, _ := authorized(secret, time.Now(), r.Header.Get("Authorization"), "r.example/app", blobA.String())
			w.Header().Set(headerMAC, mac(secret, "answer", nonce, "r.example/app", blobA.String(), body))
			io.WriteString(w, body)
		}
	}
	impostor(signed(`{"holders":["sha512:` + strings.Repeat("1", 128) + `"]}`))
	impostor(signed(`{"holders":["../x"]}`))
	impostor(signed(`{"holders":7}`))
	impostor(signed(body + strings.Repeat(" ", maxAnswer)))

	address := replica(t, secret, nil, one)
	ask := func(authorization, query string) int {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, address+path+"?"+query, nil)
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	query := url.Values{"repository": {"r.example/app"}, "digest": {blobA.String()}}.Encode()
	good := authorize(secret, time.Now(), "n", "r.example/app", blobA.String())
	if got := ask(good, query); got != http.StatusOK {
		t.Errorf("the twin: %d", got)
	}
	for name, c := range map[string][2]string{
		"nothing":            {"", query},
		"another secret":     {authorize(other, time.Now(), "n", "r.example/app", blobA.String()), query},
		"another repository": {authorize(secret, time.Now(), "n", "r.example/other", blobA.String()), query},
		"another digest":     {authorize(secret, time.Now(), "n", "r.example/app", one.String()), query},
		"old":                {authorize(secret, time.Now().Add(-2*maxSkew), "n", "r.example/app", blobA.String()), query},
		"of the future":      {authorize(secret, time.Now().Add(2*maxSkew), "n", "r.example/app", blobA.String()), query},
		"cut":                {good[:len(good)-1], query},
		"moved line break":   {good, url.Values{"repository": {"r.example/app\n" + blobA.String()}, "digest": {""}}.Encode()},
		"a part":             {strings.ReplaceAll(good, ".", ""), query},
	} {
		if got := ask(c[0], c[1]); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := ask(good, query+"&x="+strings.Repeat("x", maxQuery)); got != http.StatusNotFound {
		t.Errorf("a long query: %d", got)
	}
}

// TestReplicasThatDoNotAnswerAreLeftOutForAWhile, and hold nobody up.
func TestReplicasThatDoNotAnswerAreLeftOutForAWhile(t *testing.T) {
	var asked atomic.Int64
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hang)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	l.Close()
	now := time.Now()
	c := client(t, Config{URLs: []string{slow.URL, gone, replica(t, secret, func() time.Time { return now }, one)}, Now: func() time.Time { return now }})
	begin := time.Now()
	for range 3 {
		if diff := cmp.Diff([]v1.Hash{one}, c.Holders(t.Context(), "r.example/app", blobA)); diff != "" {
			t.Error(diff)
		}
	}
	if took := time.Since(begin); asked.Load() != 1 || took > 3*time.Second {
		t.Errorf("the slow one was asked %d times, in %s", asked.Load(), took)
	}
	now = now.Add(5*time.Second - 1)
	c.Holders(t.Context(), "r.example/app", blobA)
	if asked.Load() != 1 {
		t.Error("the slow one was asked again before its time")
	}
	now = now.Add(1)
	c.Holders(t.Context(), "r.example/app", blobA)
	if asked.Load() != 2 {
		t.Errorf("the slow one was asked %d times", asked.Load())
	}
}

// A question is good for a minute before and after its time, and what the DNS said for five seconds.
func TestTimesOfPeers(t *testing.T) {
	now := time.Now()
	header := authorize(secret, now, "nonce", "r.example/app", blobA.String())
	for late, good := range map[time.Duration]bool{-62 * time.Second: false, -58 * time.Second: true, 58 * time.Second: true, 62 * time.Second: false} {
		if _, err := authorized(secret, now.Add(late), header, "r.example/app", blobA.String()); (err == nil) != good {
			t.Errorf("%v late: %v", late, err)
		}
	}
	lookups := 0
	c := client(t, Config{DNS: "http://replicas.example:1", Now: func() time.Time { return now }, Lookup: func(context.Context, string) ([]string, error) {
		lookups++
		return nil, nil
	}})
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {5*time.Second - 1, 1}, {1, 2}} {
		now = now.Add(step.after)
		c.Holders(t.Context(), "r.example/app", blobA)
		if lookups != step.want {
			t.Errorf("%v later: %d lookups, want %d", step.after, lookups, step.want)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"short secret": {Secret: []byte("short"), URLs: []string{"http://a:1"}},
		"nobody":       {Secret: secret},
		"no port":      {Secret: secret, URLs: []string{"http://a"}},
		"no scheme":    {Secret: secret, URLs: []string{"a:1"}},
		"a path":       {Secret: secret, URLs: []string{"http://a:1/x"}},
		"a password":   {Secret: secret, DNS: "http://u:p@a:1"},
		"too many":     {Secret: secret, URLs: strings.Split(strings.Repeat("http://a:1 ", maxPeers+1), " ")},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := Handler([]byte("short"), nil, nil); err == nil {
		t.Error("a handler with a short secret")
	}
}

func TestReadSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for _, c := range []struct {
		content string
		mode    os.FileMode
		ok      bool
	}{
		{strings.Repeat("s", 64) + "\n", 0o600, true},
		{strings.Repeat("s", 64) + "\n", 0o644, false},
		{"short\n", 0o600, false},
		{strings.Repeat("s", maxSecret+1), 0o600, false},
	} {
		os.Remove(file)
		if err := os.WriteFile(file, []byte(c.content), c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadSecret(file)
		if (err == nil) != c.ok || c.ok && string(got) != strings.TrimSpace(c.content) {
			t.Errorf("%d bytes, mode %o: %v", len(c.content), c.mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), file) {
			t.Errorf("%v does not name the file", err)
		}
	}
	if _, err := ReadSecret(file + "x"); err == nil {
		t.Error("no file is accepted")
	}
}

// TestPeers_Check: each replica is asked, and named if it would not answer.
func TestPeers_Check(t *testing.T) {
	same, other := replica(t, secret, nil), replica(t, []byte(strings.Repeat("x", MinSecret)), nil)
	late := replica(t, secret, func() time.Time { return time.Now().Add(2 * maxSkew) })
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c := client(t, Config{URLs: []string{same, other, late, gone.URL}})
	for range 2 { // one that failed is asked again
		wrong := c.Check(t.Context())
		if len(wrong) != 3 {
			t.Fatal(wrong)
		}
		for i, url := range []string{other, late, gone.URL} {
			if secret := errors.Is(wrong[i], ErrSecret); !strings.Contains(wrong[i].Error(), url) || secret != (url != gone.URL) {
				t.Errorf("%s: %v", url, wrong[i])
			}
		}
	}
}

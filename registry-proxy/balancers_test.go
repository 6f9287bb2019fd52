package registryproxy

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/registry-proxy/auth"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

func TestParseBalancers(t *testing.T) {
	for _, list := range [][]string{
		nil, {"10.0.0.0/8", "192.0.2.7"}, {"127.0.0.1", "::1"}, {"2001:db8::/32", "2001:DB8::7"}, {"0.0.0.0/1"}, {"169.254.0.1"}, {"192.0.2.7/32"},
		slices.Repeat([]string{"192.0.2.7"}, maxBalancers),
	} {
		if b, field, err := ParseBalancers(list); err != nil || field != "" || len(b) != len(list) {
			t.Errorf("%q: %v, %q, %v", list, b, field, err)
		}
	}
	for text, want := range map[string]string{
		"":                     "is neither",
		"balancer.example":     "is neither",
		"192.0.2.7:80":         "is neither",
		"[2001:db8::7]":        "is neither",
		"2001:db8::7%eth0":     "is neither",
		"192.0.2.07":           "is neither",
		"10/8":                 "is neither",
		"10.0.0.0/33":          "is neither",
		"10.0.0.0/08":          "is neither",
		" 192.0.2.7":           "is neither",
		"0.0.0.0/0":            "is everybody",
		"::/0":                 "is everybody",
		"10.0.0.1/0":           "is everybody",
		"10.0.0.1/8":           "write 10.0.0.0/8",
		"2001:db8::1/32":       "write 2001:db8::/32",
		"::ffff:192.0.2.7":     "write it as IPv4",
		"::ffff:192.0.2.0/120": "write it as IPv4",
		"fe80::1":              "is a link-local",
		"fe80::/10":            "is a link-local",
	} {
		b, field, err := ParseBalancers([]string{"192.0.2.7", text})
		if err == nil || b != nil || field != "balancers[1]" || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, %q, %v", text, b, field, err)
		}
	}
	if b, field, err := ParseBalancers(slices.Repeat([]string{"192.0.2.7"}, maxBalancers+1)); err == nil || b != nil || field != "balancers" {
		t.Errorf("too many: %v, %q, %v", b, field, err)
	}
}

// PX-27, PX-35: a client's address is what balancers say it is, and nothing that anybody else wrote.
func TestPX27_PX35_WhoseAddressItIs(t *testing.T) {
	balancers, _, err := ParseBalancers([]string{"10.0.0.0/8", "192.0.2.7", "2001:db8:1::/64"})
	if err != nil {
		t.Fatal(err)
	}
	many := func(n int, format string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, i/250, i%250))
		}
		return strings.Join(all, ", ")
	}
	for _, c := range []struct {
		name, peer string
		header     []string
		want       string
	}{
		{"nothing is said", "192.0.2.7:80", nil, "192.0.2.7"},
		{"a balancer says it", "192.0.2.7:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a balancer on a network", "10.1.2.3:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a balancer by IPv6", "[2001:db8:1::9]:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a balancer by IPv4 in IPv6", "[::ffff:192.0.2.7]:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a stranger says it", "198.51.100.9:80", []string{"198.51.100.1"}, "198.51.100.9"},
		{"a stranger names a balancer", "198.51.100.9:80", []string{"198.51.100.1, 192.0.2.7"}, "198.51.100.9"},
		{"a stranger beside a balancer", "192.0.2.8:80", []string{"198.51.100.1"}, "192.0.2.8"},
		{"a stranger with a balancer's address and a zone", "[2001:db8:1::9%eth0]:80", []string{"198.51.100.1"}, "2001:db8:1::9%eth0"},
		{"a client says it to a balancer", "192.0.2.7:80", []string{"203.0.113.1, 198.51.100.1"}, "198.51.100.1"},
		{"a client says it in a line of its own", "192.0.2.7:80", []string{"203.0.113.1", "198.51.100.1"}, "198.51.100.1"},
		{"a client names a balancer", "192.0.2.7:80", []string{"203.0.113.1, 10.0.0.1, 198.51.100.1"}, "198.51.100.1"},
		{"a chain", "192.0.2.7:80", []string{"203.0.113.1, 198.51.100.1,10.0.0.1 ,\t10.0.0.2"}, "198.51.100.1"},
		{"a chain in lines", "192.0.2.7:80", []string{"203.0.113.1, 198.51.100.1", "10.0.0.1", "10.0.0.2"}, "198.51.100.1"},
		{"balancers alone", "192.0.2.7:80", []string{"10.0.0.1, 10.0.0.2"}, "10.0.0.1"},
		{"with a port", "192.0.2.7:80", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6", "192.0.2.7:80", []string{"2001:db8:2::1"}, "2001:db8:2::1"},
		{"IPv6 in brackets", "192.0.2.7:80", []string{"[2001:db8:2::1]"}, "2001:db8:2::1"},
		{"IPv6 with a port", "192.0.2.7:80", []string{"[2001:db8:2::1]:4711"}, "2001:db8:2::1"},
		{"IPv6 with a zone", "192.0.2.7:80", []string{"fe80::1%eth0"}, "fe80::1"},
		{"IPv6 with a zone and a port", "192.0.2.7:80", []string{"[fe80::1%eth0]:4711"}, "fe80::1"},
		{"IPv4 in IPv6", "192.0.2.7:80", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a balancer by IPv4 in IPv6 with a port", "192.0.2.7:80", []string{"198.51.100.1, [::ffff:10.0.0.1]:80"}, "198.51.100.1"},
		{"a balancer's address with a zone", "192.0.2.7:80", []string{"198.51.100.1, 2001:db8:1::9%eth0"}, "2001:db8:1::9"},
		{"an empty line", "192.0.2.7:80", []string{""}, "192.0.2.7"},
		{"an empty entry", "192.0.2.7:80", []string{"198.51.100.1,"}, "192.0.2.7"},
		{"an empty entry in a chain", "192.0.2.7:80", []string{"198.51.100.1,,10.0.0.1"}, "10.0.0.1"},
		{"garbage", "192.0.2.7:80", []string{"198.51.100.1, unknown"}, "192.0.2.7"},
		{"garbage in a chain", "192.0.2.7:80", []string{"198.51.100.1, _hidden, 10.0.0.1"}, "10.0.0.1"},
		{"garbage before the client", "192.0.2.7:80", []string{"<script>, 198.51.100.1"}, "198.51.100.1"},
		{"a host name", "192.0.2.7:80", []string{"client.example"}, "192.0.2.7"},
		{"RFC 7239's form", "192.0.2.7:80", []string{"for=198.51.100.1"}, "192.0.2.7"},
		{"quoted", "192.0.2.7:80", []string{`"198.51.100.1"`}, "192.0.2.7"},
		{"two addresses", "192.0.2.7:80", []string{"198.51.100.1 198.51.100.2"}, "192.0.2.7"},
		{"a network", "192.0.2.7:80", []string{"198.51.100.0/24"}, "192.0.2.7"},
		{"a port that is none", "192.0.2.7:80", []string{"198.51.100.1:65536"}, "192.0.2.7"},
		{"IPv4 in brackets", "192.0.2.7:80", []string{"[198.51.100.1]"}, "192.0.2.7"},
		{"a bracket", "192.0.2.7:80", []string{"[2001:db8:2::1"}, "192.0.2.7"},
		{"a number", "192.0.2.7:80", []string{"3325256705"}, "192.0.2.7"},
		{"octal", "192.0.2.7:80", []string{"0306.51.100.1"}, "192.0.2.7"},
		{"a line in an entry", "192.0.2.7:80", []string{"198.51.100.1\nforged"}, "192.0.2.7"},
		{"a long entry", "192.0.2.7:80", []string{"fe80::1%" + strings.Repeat("a", maxHop)}, "192.0.2.7"},
		{"10,000 entries from a stranger", "198.51.100.9:80", []string{many(10_000, "10.0.%d.%d")}, "198.51.100.9"},
		{"10,000 strangers", "192.0.2.7:80", []string{many(10_000, "198.51.%d.%d")}, "198.51.39.249"},
		{"10,000 balancers", "192.0.2.7:80", []string{"198.51.100.1," + many(10_000, "10.0.%d.%d")}, "10.0.39.234"},
		{"10,000 lines", "192.0.2.7:80", strings.Split(many(10_000, "10.0.%d.%d"), ", "), "10.0.39.234"},
		{"as many balancers as are believed", "192.0.2.7:80", []string{"198.51.100.1, " + many(maxHops-1, "10.0.%d.%d")}, "198.51.100.1"},
		{"one more", "192.0.2.7:80", []string{"198.51.100.1, " + many(maxHops, "10.0.%d.%d")}, "10.0.0.0"},
		{"an endless number of commas", "192.0.2.7:80", []string{strings.Repeat(",", 1<<20)}, "192.0.2.7"},
		{"no peer", "@", []string{"198.51.100.1"}, "@"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = c.peer, c.header
		if got := clientAddress(balancers.sent(r)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if r.RemoteAddr != c.peer {
			t.Errorf("%s: the request that came was changed", c.name)
		}
		if got := (Balancers)(nil).sent(r); got != r {
			t.Errorf("%s: believed where no balancer is named", c.name)
		}
	}
	// What else claims an address is not read.
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r.RemoteAddr = "192.0.2.7:80"
	for _, h := range []string{"X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "X-Forwarded"} {
		r.Header.Set(h, "198.51.100.1")
	}
	if got := clientAddress(balancers.sent(r)); got != "192.0.2.7" {
		t.Errorf("got %s", got)
	}
}

// by is a client with an address of its own on this machine.
func by(t *testing.T, address string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// balancer is the address of a balancer that tests name.
const balancer = "127.0.0.50"

// balanced starts a balancer in front of a lab's proxy that adds the client's address to what the client says, and returns its URL.
func balanced(t *testing.T, l *lab) string {
	t.Helper()
	target, err := url.Parse(l.url)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Transport: by(t, balancer).Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		},
		ErrorLog: log.New(io.Discard, "", 0), // of clients that go away
	})
	t.Cleanup(server.Close)
	return server.URL
}

// ask asks for a path, with headers or a login.
func ask(t *testing.T, client *http.Client, url string, set func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	set(req)
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return resp.StatusCode
}

// PX-17, PX-35: the decision log has clients' own addresses, and the upstream hears of none.
func TestPX17_PX35_ClientsBehindABalancer(t *testing.T) {
	kept, err := decisions.Open(decisions.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, withConfig(func(c *Config) { c.Decisions = kept }))
	l.admitter.sign(digestOf(t, l.pushImage("app:v1")))
	l.behind(FrontConfig{Mounts: []*Mount{{Proxy: l.proxy}}, Balancers: Balancers{netip.MustParsePrefix(balancer + "/32")}})
	through := balanced(t, l)
	forge := func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.1, "+balancer) }
	l.seen("")
	for _, c := range []struct {
		client, url string
		set         func(*http.Request)
		want        string
	}{
		{"127.0.0.2", through, func(*http.Request) {}, "127.0.0.2"},
		{"127.0.0.3", through, forge, "127.0.0.3"},
		{"127.0.0.4", l.url, func(*http.Request) {}, "127.0.0.4"},
		{"127.0.0.5", l.url, forge, "127.0.0.5"},
		{balancer, l.url, forge, "203.0.113.1"},
		{balancer, l.url, func(*http.Request) {}, balancer},
	} {
		if status := ask(t, by(t, c.client), c.url+"/v2/app/manifests/v1", c.set); status != http.StatusOK {
			t.Fatalf("%s: %d", c.client, status)
		}
		if got := kept.Recent(decisions.Query{Limit: 1}); len(got) != 1 || got[0].Address != c.want {
			t.Errorf("%s at %s: the decision log has %+v, want %s", c.client, c.url, got, c.want)
		}
		if lines := l.logs.String(); !strings.Contains(lines[strings.LastIndex(lines, `"msg":"decision"`):], `"address":"`+c.want+`"`) {
			t.Errorf("%s at %s: the log has no %s: %s", c.client, c.url, c.want, lines)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.headers {
		if all := fmt.Sprint(h); strings.Contains(all, "Forwarded") || strings.Contains(all, "203.0.113.1") || strings.Contains(all, "127.0.0.2") {
			t.Errorf("request %d to the upstream: %s", i, all)
		}
	}
	if len(l.headers) == 0 {
		t.Error("the upstream was not asked")
	}
}

// PX-27: who tries passwords behind a balancer takes no place from others behind it, whatever addresses it makes up, there or at the proxy itself.
func TestPX27_LoginsBehindABalancer(t *testing.T) {
	l := newLab(t)
	l.admitter.sign(digestOf(t, l.pushImage("app:v1")))
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost+2) // so that more come than are compared
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, fmt.Appendf(nil, "alice:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, atBalancer := range []bool{true, false} {
		clients, err := auth.New(auth.Config{Htpasswd: users})
		if err != nil {
			t.Fatal(err)
		}
		l.behind(FrontConfig{Mounts: []*Mount{{Proxy: l.proxy}}, Clients: clients, Balancers: Balancers{netip.MustParsePrefix(balancer + "/32")}})
		through := balanced(t, l)
		target := l.url
		if atBalancer {
			target = through
		}
		mallory, sentAway, stop := by(t, "127.0.0.2"), make(chan struct{}), make(chan struct{})
		var group sync.WaitGroup
		var tries atomic.Int64
		var full sync.Once
		for range runtime.GOMAXPROCS(0) + 32 { // more than have turns and the 16 places
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					n := tries.Add(1)
					switch status := ask(t, mallory, target+"/v2/", func(r *http.Request) {
						r.SetBasicAuth("alice", fmt.Sprint("wrong", n))
						r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", n/256%256, n%256))
					}); status {
					case http.StatusTooManyRequests:
						full.Do(func() { close(sentAway) })
					case http.StatusUnauthorized:
					default:
						t.Errorf("wrong passwords are answered %d", status)
						full.Do(func() { close(sentAway) })
						return
					}
				}
			})
		}
		<-sentAway
		if status := ask(t, by(t, "127.0.0.3"), through+"/v2/app/manifests/v1", func(r *http.Request) { r.SetBasicAuth("alice", "right") }); status != http.StatusOK {
			t.Errorf("somebody else's login is answered %d, by the balancer: %v", status, atBalancer)
		}
		close(stop)
		group.Wait()
	}
}

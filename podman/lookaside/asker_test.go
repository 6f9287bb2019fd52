package lookaside_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/podman/lookaside"
)

func TestMethodsAndHosts(t *testing.T) {
	v := &verdicts{by: map[string]gate.Verdict{repository: admitted}}
	url := serve(t, config(v))
	ask := func(method, host string) (int, string) {
		req, err := http.NewRequest(method, signatureURL(url, repository, 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		if status, _ := ask(method, ""); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", method, status)
		}
	}
	for _, host := range []string{"rebound.evil.example", "rebound.evil.example:7467", "127.0.0.1.evil.example", "192.0.2.1", "localhost.", "[::2]:80", "0.0.0.0"} {
		if status, body := ask("GET", host); status != http.StatusMisdirectedRequest {
			t.Errorf("Host: %s: status %d, %q", host, status, body)
		}
	}
	if v.count() != 0 {
		t.Errorf("%d verdicts for requests that are none", v.count())
	}
	for _, host := range []string{"", "localhost", "localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:80"} {
		if status, _ := ask("GET", host); status != http.StatusOK {
			t.Errorf("Host: %s: status %d", host, status)
		}
	}
	if status, body := ask("HEAD", ""); status != http.StatusOK || body != "" {
		t.Errorf("HEAD: status %d, %q", status, body)
	}
}

func TestPOD08_PeersAndCredentials(t *testing.T) {
	own := os.Geteuid()
	for _, tt := range []struct {
		name     string
		user     bool
		uid      int
		known    bool
		status   int
		entitled bool
	}{
		{"the agent's own account", false, own, true, 200, true},
		{"root", false, 0, true, 200, true},
		{"somebody else", false, own + 4711, true, 200, false},
		{"nobody knows who", false, 0, false, 200, false},
		{"a user's agent, the user", true, own, true, 200, true},
		{"a user's agent, somebody else", true, own + 4711, true, 403, false},
		{"a user's agent, nobody knows who", true, own, false, 403, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := &verdicts{by: map[string]gate.Verdict{repository: admitted}}
			c := config(v)
			c.User = tt.user
			c.Peer = func(netip.AddrPort, netip.AddrPort) (int, bool) { return tt.uid, tt.known }
			status, _ := get(t, serve(t, c), repository, 1)
			if status != tt.status {
				t.Fatalf("status %d, want %d", status, tt.status)
			}
			if status != 200 {
				if v.count() != 0 {
					t.Error("a verdict was made for somebody who gets no answer")
				}
				return
			}
			if got := v.asked[0].Source.As == "agent"; got != tt.entitled {
				t.Errorf("asked with credentials: %v, want %v", got, tt.entitled)
			}
			want := gate.Asker{Client: "podman", UID: -1}
			if tt.known {
				want.UID = tt.uid
			}
			if diff := cmp.Diff(want, v.askers[0]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPOD08_OtherHostsGetNoAnswer(t *testing.T) {
	v := &verdicts{by: map[string]gate.Verdict{repository: admitted}}
	h, err := lookaside.New(config(v))
	if err != nil {
		t.Fatal(err)
	}
	for remote, want := range map[string]int{"127.0.0.1:40000": 200, "[::1]:40000": 200, "192.0.2.1:40000": 403, "[2001:db8::1]:40000": 403, "@": 403, "": 403} {
		r := httptest.NewRequest("GET", signatureURL("", repository, 1), nil)
		r.RemoteAddr, r.Host = remote, "127.0.0.1"
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7467})))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %q: status %d, want %d", remote, w.Code, want)
		}
	}
}

func TestPrivateImagesOfOthers(t *testing.T) {
	forbidden := gate.Verdict{Outcome: gate.OutcomeUndecided, Code: gate.CodeForbidden, Reason: "asking registry: https://registry.example/v2/acme/app/manifests/sha256-aa.sig: status 401"}
	c := config(&verdicts{by: map[string]gate.Verdict{repository: forbidden}})
	c.Peer = func(netip.AddrPort, netip.AddrPort) (int, bool) { return os.Geteuid() + 4711, true }
	_, blob := get(t, serve(t, c), repository, 1)
	if !strings.Contains(blob, "touchmark install podman --user") || strings.Contains(blob, "status 401") {
		t.Errorf("%q", blob)
	}
}

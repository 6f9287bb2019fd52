package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

// ask asks the proxy about something in a repository, as a robot.
func (s *harborSite) ask(t *testing.T, way harborWay, method, repository, path, robot string) (a answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:"+s.port+"/v2/"+way.prefix+repository+"/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = way.host
	req.SetBasicAuth(robot, secretOf(robot))
	if way.name == passedThrough {
		req.Header.Set("Authorization", "Bearer "+s.token(t, s.via, robot, repository))
	}
	transport := s.host.Transport()
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a = answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return a
}

// answers are what every client can be told, by GET and by HEAD.
func (s *harborSite) answers(t *testing.T) {
	manifest, err := s.images["library/app:signed"].Manifest()
	if err != nil {
		t.Fatal(err)
	}
	signed, layer, config := s.digest(t, "library/app:signed"), manifest.Layers[0].Digest.String(), manifest.Config.Digest.String()
	const violation, unavailable, unknown = "412 " + policyViolation, "503 UNAVAILABLE", "404 MANIFEST_UNKNOWN"
	const denied, unauthorized = "403 DENIED", "401 UNAUTHORIZED"
	for _, c := range []struct {
		robot, repository, path string
		ways                    [3]string // status and code by the proxy's account, passed through, and by an account of the project library; empty is not asked
		told                    string
	}{
		{libraryRobot, "library/app", "manifests/" + signed, [...]string{"200", "200", "200"}, ""},
		{libraryRobot, "library/app", "blobs/" + layer, [...]string{"200", "200", "200"}, ""},
		{libraryRobot, "library/app", "tags/list", [...]string{"200", "200", "200"}, "unsigned"},
		{libraryRobot, "library/app", "manifests/unsigned", [...]string{denied, denied, denied}, "is not signed; policy release wants a signature"},
		{scannedRobot, "scanned/app", "manifests/signed", [...]string{violation, violation, ""}, vulnerableThere},
		{scannedRobot, "scanned/app", "manifests/" + s.digest(t, "scanned/app:signed"), [...]string{violation, violation, ""}, vulnerableThere},
		{guardedRobot, "guarded/app", "manifests/unsigned", [...]string{violation, violation, ""}, unsignedThere},
		{libraryRobot, "library/veiled", "manifests/signed", [...]string{unavailable, unavailable, unavailable}, policyViolation + ": " + unsignedThere},
		{libraryRobot, "library/busy", "manifests/signed", [...]string{unavailable, unavailable, unavailable}, "HTTP 429"},
		{libraryRobot, "hidden/app", "manifests/signed", [...]string{"", unknown, unknown}, "is not known to the upstream registry"},
		// What the proxy itself may not read is its own trouble, and says nothing about the image.
		{libraryRobot, "team-a/sub/app", "manifests/signed", [...]string{"", unauthorized, "502 UNKNOWN"}, ""},
		// Others get nothing of what was admitted, and is kept, for those who may read it, and are not told of it.
		{teamRobot, "library/app", "manifests/" + signed, [...]string{denied, unauthorized, denied}, ""},
		{teamRobot, "library/app", "manifests/unsigned", [...]string{denied, unauthorized, denied}, ""},
		{teamRobot, "library/app", "blobs/" + layer, [...]string{denied, unauthorized, denied}, ""},
		{teamRobot, "library/app", "blobs/" + config, [...]string{denied, unauthorized, denied}, ""},
		{teamRobot, "library/app", "tags/list", [...]string{denied, unauthorized, denied}, ""},
		{teamRobot, "library/app", "referrers/" + signed, [...]string{denied, unauthorized, denied}, ""},
		{teamRobot, "team-a/sub/app", "manifests/" + signed, [...]string{unknown, unknown, ""}, ""},
		{teamRobot, "team-a/sub/app", "blobs/" + layer, [...]string{"404 BLOB_UNKNOWN", "404 BLOB_UNKNOWN", ""}, ""},
	} {
		for i, way := range append(s.ways(), harborWay{host: "proxy.acme.example:" + s.port, prefix: "library-only/"}) {
			if c.ways[i] == "" {
				continue
			}
			get, head := s.ask(t, way, http.MethodGet, c.repository, c.path, c.robot), s.ask(t, way, http.MethodHead, c.repository, c.path, c.robot)
			var p problem
			got, told := fmt.Sprint(get.status), string(get.body)
			if get.status != http.StatusOK {
				if err := json.Unmarshal(get.body, &p); err != nil || len(p.Errors) != 1 {
					t.Fatalf("%s%s/%s: %d %s", way.prefix, c.repository, c.path, get.status, get.body)
				}
				got, told = got+" "+p.Errors[0].Code, p.Errors[0].Message
			}
			if got != c.ways[i] || !strings.Contains(told, c.told) || c.told == "" && strings.Contains(told, "is not signed") {
				t.Errorf("%s%s/%s, %s: %s %s, want %s %s", way.prefix, c.repository, c.path, c.robot, got, told, c.ways[i], c.told)
			}
			if (get.header.Get("Retry-After") != "") != (got == unavailable) {
				t.Errorf("%s%s/%s, %s: %s has %v", way.prefix, c.repository, c.path, c.robot, got, get.header)
			}
			if head.status != get.status || len(head.body) > 0 {
				t.Errorf("%s%s/%s, %s: HEAD %d %s, GET %s", way.prefix, c.repository, c.path, c.robot, head.status, head.body, got)
			}
		}
	}
}

// traces are what Harbor, its storage and the proxy's logs know afterwards.
func (s *harborSite) traces(t *testing.T) {
	s.proxy.End(syscall.SIGTERM) // so that all that it had to write is written
	s.mu.Lock()
	accounts, kept := slices.Sorted(maps.Keys(s.accounts)), s.kept
	s.mu.Unlock()
	if want := []string{guardedRobot, libraryRobot, scannedRobot, teamRobot}; !slices.Equal(accounts, want) {
		t.Errorf("tokens were asked for by the names %q, want %q", accounts, want)
	}
	for _, r := range kept {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" || r.URL.Query().Get("X-Amz-Signature") != s.signature {
			t.Errorf("the object storage was sent %s %v", r.URL, r.Header)
		}
	}
	if len(kept) == 0 {
		t.Error("nothing was asked of the object storage")
	}
	lines, err := os.ReadFile(filepath.Join(s.dir, "decisions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	counts, who := map[string]int{}, map[string]bool{}
	for line := range bytes.Lines(lines) {
		var d decisions.Decision
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatal(err)
		}
		_, image, _ := strings.Cut(d.Repository, "/")
		counts[fmt.Sprintf("%s %s %s", image, d.Outcome, d.Code)]++
		who[d.Who] = true
	}
	want := []string{"library/app admitted admitted", "library/app refused unsigned", "library/veiled undecided lookup-failed", "team-a/sub/app admitted admitted"}
	if got := slices.Sorted(maps.Keys(counts)); !slices.Equal(got, want) {
		t.Errorf("decided was %v, want %v", counts, want)
	}
	if got := slices.Sorted(maps.Keys(who)); !slices.Equal(got, []string{"", "user:" + libraryRobot, "user:" + teamRobot}) {
		t.Errorf("who asked is %q", got)
	}
	for _, robot := range []string{libraryRobot, teamRobot, scannedRobot, guardedRobot, "robot$proxy"} {
		for _, secret := range []string{secretOf(robot), url.QueryEscape(secretOf(robot)), basic(robot), "Bearer ey", s.signature} {
			if strings.Contains(s.proxy.Log()+string(lines), secret) {
				t.Errorf("the logs have %q, a secret of %s", secret, robot)
			}
		}
	}
}

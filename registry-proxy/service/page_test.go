package service

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// The page says once what it is, and before which registries; who may not see it is told what is missing.
func TestPage(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	p.write("users", "alice:"+string(hash)+"\nbob:"+string(hash)+"\n")
	p.write("proxy.yaml", p.least()+`  hosts: [acme.example]
- {name: second.example, upstream: "http://`+p.host+`", prefix: second}
page: true
auth:
  htpasswd: users
  access:
  - {subjects: ["user:bob"], repositories: ["**"]}
  - {subjects: ["user:alice"], repositories: ["second.example/**"], page: true}
`)
	s, _ := p.run()
	ask := func(user string) (int, string) {
		return get(t, http.DefaultClient, strings.Replace(s.URL(), "://", "://"+user+":right@", 1)+"/")
	}
	status, body := ask("alice")
	header := regexp.MustCompile(`(?s)<header>.*</header>`).FindString(body)
	if status != http.StatusOK || strings.Count(header, "Touchmark proxy") != 1 || !strings.Contains(header, "registry.acme.example, second.example") {
		t.Errorf("alice: %d, the page begins with %s", status, header)
	}
	if status, body := ask("bob"); status != http.StatusForbidden || !strings.Contains(body, "a rule of auth.access with page: true") || strings.Contains(body, "repository") {
		t.Errorf("bob: %d %s", status, body)
	}
}

package registryproxy

import (
	"net/http"
	"strings"
	"testing"
)

// PX-25: what the upstream itself forbids to pull is told with its own code and words, as far as these are fit to be told; no other answer of this proxy can be
// made by it.
func TestPX25_UpstreamsOwnRules(t *testing.T) {
	const silent = "it does not say why"
	for _, c := range []struct {
		name, body string
		code, told string
	}{
		{"as Harbor", `{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"The image is not signed by cosign."}]}`, "PROJECTPOLICYVIOLATION", "pull it: The image is not signed by cosign."},
		{"without a code", `{"errors":[{"message":"no"}]}`, codeUnknown, "pull it: no"},
		{"as if this proxy had decided", `{"errors":[{"code":"DENIED","message":"app is not signed"}]}`, codeUnknown, "a rule of the upstream registry itself forbids to pull it: app is not signed"},
		{"as if to log in helped", `{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}`, codeUnknown, "log in"},
		{"a code that is none", `{"errors":[{"code":"<b>","message":"no"}]}`, codeUnknown, "pull it: no"},
		{"an endless code", `{"errors":[{"code":"` + strings.Repeat("A", 65) + `","message":"no"}]}`, codeUnknown, "pull it: no"},
		{"endless words", `{"errors":[{"code":"NO","message":"` + strings.Repeat("€", 1000) + `"}]}`, "NO", strings.Repeat("€", maxTold/len("€"))},
		{"what a terminal would obey", `{"errors":[{"code":"NO","message":"\u001b[2Jred\r\n\u202e"}]}`, "NO", "pull it: [2Jred"},
		{"nothing", "", codeUnknown, silent},
		{"a web page", "<html>no</html>", codeUnknown, silent},
		{"a code alone", `{"errors":[{"code":"NO"}]}`, codeUnknown, silent},
		{"without end", `{"errors":[{"code":"NO","message":"` + strings.Repeat("A", maxRefusal), codeUnknown, silent},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			img := l.pushImage("app:v1")
			l.admitter.sign(digestOf(t, img))
			l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				w.WriteHeader(http.StatusPreconditionFailed)
				if r.Method == http.MethodGet {
					_, _ = w.Write([]byte(c.body))
				}
				return true
			})
			for _, reference := range []string{"v1", digestOf(t, img).String()} {
				path := "/v2/app/manifests/" + reference
				r := l.want(l.get(path), http.StatusPreconditionFailed, c.code)
				if !strings.HasSuffix(r.message(), c.told) || strings.Contains(string(r.body), "detail") {
					t.Errorf("%s: %s", reference, r.body)
				}
				if head := l.want(l.do(http.MethodHead, path), http.StatusPreconditionFailed, ""); len(head.body) > 0 {
					t.Errorf("HEAD %s: %s", reference, head.body)
				}
			}
			if asked := l.admitter.questions(); len(asked) > 0 {
				t.Errorf("the gate was asked %v", asked)
			}
			l.setLie(nil) // the rule is gone
			l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
		})
	}
}

package doctor_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/registry-proxy/doctor"
)

var update = flag.Bool("update", false, "write the tables of docs/doctor.md")

const manual = "../../docs/doctor.md"

// sources are the texts of this package and of what doctors share, without the catalog, and what is about agents.
func sources(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, dir := range []string{".", "../../core/doctor"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Base(file) == "catalog.go" || filepath.Base(file) == "agent.go" || strings.HasSuffix(file, "_test.go") {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(data)
		}
	}
	return text.String()
}

// TestCatalog: codes are what scripts and alerts name; each stands once, each is given by some check, and what is fixable is fixed.
func TestCatalog(t *testing.T) {
	text := sources(t)
	fixes, err := os.ReadFile("fix.go")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`\A[a-z]+(-[a-z]+)*\z`)
	seen := map[string]bool{}
	for _, subject := range doctor.Catalog() {
		for _, c := range subject.Causes {
			switch {
			case !code.MatchString(c.Code):
				t.Errorf("%q: not a code", c.Code)
			case seen[c.Code]:
				t.Errorf("%s stands twice", c.Code)
			case c.Title == "" || c.Remedy == "" || c.Severity == "":
				t.Errorf("%s: %+v is not complete", c.Code, c)
			case strings.Count(text, `"`+c.Code+`"`) < 1+strings.Count(string(fixes), `"`+c.Code+`"`):
				t.Errorf("%s: no check gives it", c.Code)
			case c.Fixable != strings.Contains(string(fixes), `"`+c.Code+`"`):
				t.Errorf("%s: fixable %v, and Fix knows otherwise", c.Code, c.Fixable)
			}
			seen[c.Code] = true
		}
	}
	if len(seen) < 40 {
		t.Errorf("%d causes, want 40 or more", len(seen))
	}
	for _, m := range regexp.MustCompile(`\.Find\("([a-z-]+)"|CheckWritable\("([a-z-]+)"|(?:checkTree|checkSecret)\("([a-z-]+)"`).FindAllStringSubmatch(text, -1) {
		if given := strings.Join(m[1:], ""); !seen[given] {
			t.Errorf("%s is given by a check and not in the catalog", given)
		}
	}
}

// TestManual: docs/doctor.md lists the catalog. -update writes it.
func TestManual(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- the proxy's catalog: go test ./registry-proxy/doctor -update writes it -->\n", "\n<!-- end of the proxy's catalog -->"
	head, rest, ok := strings.Cut(string(data), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s does not mark where the catalog begins and ends", manual)
	}
	want := head + begin + doctor.Catalog().Markdown() + end + tail
	if string(data) == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not list the catalog as it is: run go test ./registry-proxy/doctor -update", manual)
	}
	if err := os.WriteFile(manual, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

package doctor_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/podman/doctor"
)

var update = flag.Bool("update", false, "write the tables of docs/doctor.md")

const manual = "../../docs/doctor.md"

// TestCatalog: codes are what scripts and alerts name; each stands once, and each is given by some check.
func TestCatalog(t *testing.T) {
	code := regexp.MustCompile(`\A[a-z]+(-[a-z]+)*\z`)
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := filepath.Glob("../../core/doctor/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, file := range append(sources, shared...) {
		if file == "catalog.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
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
			case !strings.Contains(text.String(), `"`+c.Code+`"`):
				t.Errorf("%s: no check gives it", c.Code)
			}
			seen[c.Code] = true
		}
	}
	if len(seen) < 40 {
		t.Errorf("%d causes, want 40 or more", len(seen))
	}
	for _, m := range regexp.MustCompile(`[fF]ind\("([a-z-]+)"|problem\{"([a-z-]+)"|CheckWritable\("([a-z-]+)"|checkOther\("([a-z-]+)"`).FindAllStringSubmatch(text.String(), -1) {
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
	const begin, end = "<!-- the catalog: go test ./podman/doctor -update writes it -->\n", "\n<!-- end of the catalog -->"
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
		t.Fatalf("%s does not list the catalog as it is: run go test ./podman/doctor -update", manual)
	}
	if err := os.WriteFile(manual, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

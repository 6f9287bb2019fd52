// Package doctortest holds every doctor's catalog to its program and to the manual.
// It is imported by tests only.
package doctortest

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/doctor"
)

// shared and manual are seen from a doctor's own directory, where its tests run.
const (
	shared = "../../core/doctor"
	manual = "../../docs/doctor.md"
)

// Doctor is what its test knows of a doctor.
type Doctor struct {
	Catalog doctor.Catalog
	// Package is its path in the module.
	Package string
	// Name is how the manual calls its catalog: "containerd's catalog".
	Name string
	// Least is how many causes it knows at least.
	Least int
	// Without are files of core/doctor whose checks this doctor does not make.
	Without []string
	// Gives are expressions beside Find("code") and CheckWritable("code") by which its
	// checks give a code, which is their only group.
	Gives []string
	// Fixes is the file whose text names what is fixed; "" where that is not held.
	Fixes string
}

// Check holds the catalog to the program: each code, which scripts and alerts name,
// stands once, is given by some check, and no check gives another; and what is fixable
// is fixed.
func (d Doctor) Check(t *testing.T) {
	text := d.sources(t)
	fixes := ""
	if d.Fixes != "" {
		fixes = read(t, d.Fixes)
	}
	code := regexp.MustCompile(`\A[a-z]+(-[a-z]+)*\z`)
	seen := map[string]bool{}
	for _, subject := range d.Catalog {
		for _, c := range subject.Causes {
			quoted := `"` + c.Code + `"`
			switch {
			case !code.MatchString(c.Code):
				t.Errorf("%q: not a code", c.Code)
			case seen[c.Code]:
				t.Errorf("%s stands twice", c.Code)
			case c.Title == "" || c.Remedy == "" || c.Severity == "":
				t.Errorf("%s: %+v is not complete", c.Code, c)
			case strings.Count(text, quoted) < 1+strings.Count(fixes, quoted):
				t.Errorf("%s: no check gives it", c.Code)
			case d.Fixes != "" && c.Fixable != strings.Contains(fixes, quoted):
				t.Errorf("%s: fixable %v, and Fix knows otherwise", c.Code, c.Fixable)
			}
			seen[c.Code] = true
		}
	}
	if len(seen) < d.Least {
		t.Errorf("%d causes, want %d or more", len(seen), d.Least)
	}
	gives := strings.Join(append([]string{`[fF]ind\("([a-z-]+)"`, `CheckWritable\("([a-z-]+)"`}, d.Gives...), "|")
	for _, m := range regexp.MustCompile(gives).FindAllStringSubmatch(text, -1) {
		if given := strings.Join(m[1:], ""); !seen[given] {
			t.Errorf("%s is given by a check and not in the catalog", given)
		}
	}
}

// sources are the texts of the doctor's package and of what doctors share, without
// the catalog.
func (d Doctor) sources(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, dir := range []string{".", shared} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if name := filepath.Base(file); name != "catalog.go" && !strings.HasSuffix(name, "_test.go") && (dir == "." || !slices.Contains(d.Without, name)) {
				text.WriteString(read(t, file))
			}
		}
	}
	return text.String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var update = flag.Bool("update", false, "write the table of docs/doctor.md")

// Manual holds docs/doctor.md to the catalog. -update writes it.
func (d Doctor) Manual(t *testing.T) {
	begin, end := "<!-- "+d.Name+": go test ./"+d.Package+" -update writes it -->\n", "\n<!-- end of "+d.Name+" -->"
	text := read(t, manual)
	head, rest, ok := strings.Cut(text, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s does not mark where %s begins and ends", manual, d.Name)
	}
	want := head + begin + d.Catalog.Markdown() + end + tail
	if text == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not list %s as it is: run go test ./%s -update", manual, d.Name, d.Package)
	}
	if err := os.WriteFile(manual, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

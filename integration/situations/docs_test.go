package situations_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/situations"
)

const (
	document = "../../docs/situations.md"
	// Between these lines it is made from situations.yaml.
	begin = "<!-- begin: go test ./integration/situations -update -->\n"
	end   = "<!-- end -->\n"
)

// docs/situations.md shows the matrix as it is.
func TestDocument(t *testing.T) {
	all, err := situations.All()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := bytes.Cut(text, []byte(begin))
	old, after, found2 := bytes.Cut(rest, []byte(end))
	if !found || !found2 {
		t.Fatalf("%s has no lines %q and %q", document, begin, end)
	}
	want := markdown(all)
	switch {
	case bytes.Equal(old, want):
	case *update:
		if err := os.WriteFile(document, slices.Concat(before, []byte(begin), want, []byte(end), after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what situations.yaml says: run go test ./integration/situations -run TestDocument -update", document)
	}
}

// markdown is one table for each group.
func markdown(all []situations.Situation) []byte {
	var b bytes.Buffer
	group := ""
	for _, s := range all {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n### %s\n\n| situation | is | verdict | says | facts |\n|---|---|---|---|---|\n", group)
		}
		facts := s.Facts.String()
		if s.Like != "" {
			facts = "like " + s.Like + ", but " + s.But.String()
			for name, value := range s.But {
				if (situations.Facts{name: value}).String() == "" { // back to the usual
					facts = "like " + s.Like + ", but " + name + ": " + value
				}
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s `%s` | %s | %s |\n", s.Name, cell(s.Is+elsewhere(s)), s.Want.Outcome, s.Want.Code, cell(s.Want.Says), cell(facts))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// elsewhere says where something else is right.
func elsewhere(s situations.Situation) string {
	text := ""
	for _, point := range situations.Points {
		want, because := s.At(point)
		switch {
		case because == "":
		case want.Outcome == "":
			text += fmt.Sprintf(". The %s has no verdict: %s", point, because)
		default:
			text += fmt.Sprintf(". The %s says %s `%s`: %s", point, want.Outcome, want.Code, because)
		}
	}
	return text
}

func cell(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "|", `\|`) }

package doctor

import (
	"fmt"
	"strings"
)

// Markdown is the catalog as the tables of docs/doctor.md.
func Markdown() string {
	var b strings.Builder
	for _, subject := range Catalog() {
		fmt.Fprintf(&b, "\n### %s\n\n| code | severity | what it is | remedy | `--fix` |\n|---|---|---|---|---|\n", subject.Title)
		for _, c := range subject.Causes {
			fix := ""
			if c.Fixable {
				fix = "yes"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.Code, c.Severity, c.Title, c.Remedy, fix)
		}
	}
	return b.String()
}

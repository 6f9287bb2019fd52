package doctor

import (
	"fmt"
	"strings"
)

// Severity says what a cause does to images.
type Severity string

const (
	// Open: an image gets in that Touchmark's policy was not asked about.
	Open Severity = "open"
	// Broken: images that ought to get in don't, or it cannot be told.
	Broken Severity = "broken"
	// Warning: nothing yet.
	Warning Severity = "warning"
)

func (s Severity) rank() int {
	switch s {
	case Open:
		return 0
	case Broken:
		return 1
	}
	return 2
}

// Cause is a cause of that severity.
func (s Severity) Cause(code, title, remedy string, fixable bool) Cause {
	return Cause{Code: code, Severity: s, Title: title, Remedy: remedy, Fixable: fixable}
}

// Cause is a way in which a host comes not to enforce.
type Cause struct {
	// Code is stable: scripts, alerts and the metric name it.
	Code     string
	Severity Severity
	// Title says what it is.
	Title string
	// Remedy says what to do about it.
	Remedy string
	// Fixable says that the doctor can do it.
	Fixable bool
}

// Subject is a part of a catalog.
type Subject struct {
	Title  string
	Causes []Cause
}

// Catalog is every cause that a doctor knows, by subject.
type Catalog []Subject

// Cause looks a code up. One that is not known counts as broken: each doctor's
// tests hold that it gives no such code.
func (c Catalog) Cause(code string) Cause {
	for _, subject := range c {
		for _, cause := range subject.Causes {
			if cause.Code == code {
				return cause
			}
		}
	}
	return Cause{Code: code, Severity: Broken}
}

// Markdown is the catalog as tables for docs/doctor.md.
func (c Catalog) Markdown() string {
	var b strings.Builder
	for _, subject := range c {
		fmt.Fprintf(&b, "\n### %s\n\n| code | severity | what it is | remedy | `--fix` |\n|---|---|---|---|---|\n", subject.Title)
		for _, cause := range subject.Causes {
			fix := ""
			if cause.Fixable {
				fix = "yes"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", cause.Code, cause.Severity, cause.Title, cause.Remedy, fix)
		}
	}
	return b.String()
}

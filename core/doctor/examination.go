package doctor

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Examination is a host's files as one examination sees them, and what it
// finds there. Paths may be given as the host has them, or below Root.
type Examination struct {
	// Client names what is examined, for metrics; "" for no label.
	Client string
	// Root is the prefix of every path: "" but for a mounted host or a test.
	Root string
	// UID is the user who may write what counts, as root may; Trusted are others
	// that may, such as the agent's.
	UID     int
	Trusted []int
	Catalog Catalog
	// Findings are those so far.
	Findings []Finding
}

// Find adds a finding. The severity and the remedy are those of the catalog.
func (e *Examination) Find(code, where, format string, args ...any) {
	c := e.Catalog.Cause(code)
	e.Findings = append(e.Findings, Finding{
		Code: code, Severity: c.Severity, Where: e.Name(where),
		Message: fmt.Sprintf(format, args...), Remedy: c.Remedy, Fixable: c.Fixable,
	})
}

// Report is the answer, by what was found.
func (e *Examination) Report(now time.Time, scopes, notes []string) *Report {
	r := &Report{Scopes: scopes, Notes: notes, Findings: e.Findings, Time: now, catalog: e.Catalog, client: e.Client}
	r.conclude()
	return r
}

// At is where a path that a file of the host names lies for us.
func (e *Examination) At(path string) string {
	if e.Root == "" || strings.HasPrefix(path, e.Root+"/") {
		return path
	}
	return filepath.Join(e.Root, path)
}

// Name is a path as the host has it, for reports; it is found in any text.
func (e *Examination) Name(path string) string {
	if e.Root == "" {
		return path
	}
	return strings.ReplaceAll(path, strings.TrimSuffix(e.Root, "/")+"/", "/")
}

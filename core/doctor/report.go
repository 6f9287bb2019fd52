package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Text writes the report for a person.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	switch r.Enforcing {
	case Yes:
		b.WriteString("enforcing: yes")
	case No:
		b.WriteString("enforcing: NO")
	default:
		b.WriteString("enforcing: can't tell")
	}
	if len(r.Scopes) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(r.Scopes, ", "))
	}
	b.WriteString("\n")
	for _, f := range r.Findings {
		fix := ""
		if f.Fixable {
			fix = " (--fix)"
		}
		fmt.Fprintf(&b, "\n%s: %s\n  %s\n  %s\n  remedy: %s%s\n", f.Severity, f.Code, f.Where, f.Message, f.Remedy, fix)
	}
	if len(r.Notes)+len(r.Tried) > 0 {
		b.WriteString("\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, t := range r.Tried {
		fmt.Fprintf(&b, "probe: %s: %s\n", t.Object(), t.outcome())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Prometheus writes the report in Prometheus's text format, with a series for
// every code of the catalog. A report about a named client has its name as a
// label, and the worst finding's code as the cause, so that the files of two
// doctors can stand beside each other.
func (r *Report) Prometheus(w io.Writer) error {
	counts := map[string]int{}
	for _, f := range r.Findings {
		counts[f.Code]++
	}
	client, labels, with := "", "", ""
	if r.client != "" {
		client = fmt.Sprintf("client=%q", r.client)
		labels, with = "{"+client+"}", client+","
	}
	enforcing := labels
	if r.client != "" {
		enforcing = fmt.Sprintf("{%scause=%q}", with, r.cause())
	}
	var b strings.Builder
	gauge := func(name, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name) }
	gauge("touchmark_enforcing", "Whether only images that the policy admits get in on this host.")
	fmt.Fprintf(&b, "touchmark_enforcing%s %d\n", enforcing, one(r.Enforcing == Yes))
	gauge("touchmark_enforcing_unknown", "Whether that cannot be told.")
	fmt.Fprintf(&b, "touchmark_enforcing_unknown%s %d\n", labels, one(r.Enforcing == Unknown))
	gauge("touchmark_doctor_findings", "How many findings there are of each cause.")
	for _, subject := range r.catalog {
		for _, c := range subject.Causes {
			fmt.Fprintf(&b, "touchmark_doctor_findings{%scode=%q,severity=%q} %d\n", with, c.Code, c.Severity, counts[c.Code])
		}
	}
	gauge("touchmark_doctor_time_seconds", "When the host was examined.")
	fmt.Fprintf(&b, "touchmark_doctor_time_seconds%s %d\n", labels, r.Time.Unix())
	_, err := io.WriteString(w, b.String())
	return err
}

// cause is the code of what keeps the host from enforcing; "" if nothing does.
func (r *Report) cause() string {
	if r.Enforcing == Yes || len(r.Findings) == 0 {
		return ""
	}
	return r.Findings[0].Code
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

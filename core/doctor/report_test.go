package doctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
)

var catalog = doctor.Catalog{
	{Title: "Doors", Causes: []doctor.Cause{
		{Code: "door-open", Severity: doctor.Open, Title: "a door is open", Remedy: "close it", Fixable: true},
		{Code: "door-stuck", Severity: doctor.Broken, Title: "a door is stuck", Remedy: "oil it"},
		{Code: "door-ugly", Severity: doctor.Warning, Title: "a door is ugly", Remedy: "paint it"},
	}},
	{Title: "What a probe showed", Causes: doctor.ProbeCauses()},
}

func report(client string, codes ...string) *doctor.Report {
	e := doctor.Examination{Client: client, Root: "/mnt", Catalog: catalog}
	for _, c := range codes {
		e.Find(c, "/mnt/etc/door", "it is what it is")
	}
	return e.Report(time.Unix(1700000000, 0), []string{"acme"}, []string{"mind the gap"})
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		codes  []string
		want   string
		status int
	}{
		{nil, doctor.Yes, 0},
		{[]string{"door-ugly"}, doctor.Yes, 0},
		{[]string{"door-ugly", "door-stuck"}, doctor.Unknown, 3},
		{[]string{"door-stuck", "door-ugly", "door-open", "door-open"}, doctor.No, 1},
		{[]string{"door-nobody-knows"}, doctor.Unknown, 3},
	} {
		r := report("", c.codes...)
		if r.Enforcing != c.want || r.ExitStatus() != c.status {
			t.Errorf("%v: %s, %d", c.codes, r.Enforcing, r.ExitStatus())
		}
		if len(c.codes) == 4 && (len(r.Findings) != 3 || r.Findings[0].Code != "door-open" || r.Findings[0].Where != "/etc/door" || len(r.Fixable("door-open", "door-stuck")) != 1) {
			t.Errorf("%+v", r.Findings)
		}
	}
}

// A person is told notes, findings with remedies, and what was tried.
func TestText(t *testing.T) {
	r := report("", "door-open")
	r.Add(doctor.Tried{Image: "a:1", Way: "ctr"}, doctor.Tried{Image: "b:1", Unknown: true, Said: "no route"}, doctor.Tried{Image: "c:1", Want: true, Admitted: true})
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"enforcing: NO (acme)\n", "open: door-open\n  /etc/door\n", "remedy: close it (--fix)\n", "note: mind the gap\n", "probe: a:1 (ctr): refused\n", "probe: b:1: could not be pulled\n", "probe: c:1: admitted\n", "broken: probe-failed\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

// The files of two doctors stand beside each other: one has its client as a label, and the cause.
func TestPrometheus(t *testing.T) {
	for client, want := range map[string][]string{
		"":           {"touchmark_enforcing 0\n", "touchmark_enforcing_unknown 1\n", `touchmark_doctor_findings{code="door-stuck",severity="broken"} 1` + "\n", "touchmark_doctor_time_seconds 1700000000\n"},
		"containerd": {`touchmark_enforcing{client="containerd",cause="door-stuck"} 0` + "\n", `touchmark_enforcing_unknown{client="containerd"} 1` + "\n", `touchmark_doctor_findings{client="containerd",code="door-open",severity="open"} 0` + "\n"},
	} {
		var b strings.Builder
		if err := report(client, "door-stuck", "door-ugly").Prometheus(&b); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%q is missing in\n%s", w, b.String())
			}
		}
	}
	var b strings.Builder
	if err := report("containerd", "door-ugly").Prometheus(&b); err != nil || !strings.Contains(b.String(), `touchmark_enforcing{client="containerd",cause=""} 1`) {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestIsProbe(t *testing.T) {
	made, stop, err := doctor.ServeUnsigned()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	for repository, want := range map[string]bool{
		made: true, "127.0.0.1:5000/touchmark-doctor/unsigned": true, "registry.example:5000/touchmark-doctor/unsigned": false,
		"127.0.0.1:5000/x/touchmark-doctor/unsigned": false, "127.0.0.1:5000/app": false, "": false,
	} {
		if got := doctor.IsProbe(repository); got != want {
			t.Errorf("%q: %v", repository, got)
		}
	}
}

package containerddoctor_test

import (
	"testing"

	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
)

// elsewhere are the causes that other tests show, and those that cannot be brought about on one machine with one containerd.
var elsewhere = map[string]string{
	"trust-writable": "TestTrustWritable", "probe-admitted": "TestCTRD09_Probe", "probe-refused": "TestCTRD09_Probe", "probe-failed": "TestCTRD09_Probe",
	"nri-disabled": "TestCTRD14_Doctor", "nri-not-enforced": "TestCTRD14_Doctor", "nri-not-required": "TestCTRD14_Doctor", "nri-no-connections": "TestCTRD14_Doctor", "nri-not-connected": "TestCTRD14_Doctor",
	"agent-down-standalone": "TestGoodNodes", "bindir-foreign": "TestGoodNodes", "clock-unsynchronised": "each node: the machine's clock stays as it is",
	// containerd/doctor has these, with a daemon or an agent that says so.
	"release-without-verifiers": "TestCTRD09_Releases", "release-cri-local": "TestCTRD09_Releases", "nri-release": "TestCTRD09_Releases",
	"trust-stale": "TestAgent", "agent-refresh-failing": "TestAgent", "agent-store-failing": "TestAgent",
	"verifier-version": "TestVerifierVersion", "config-read-otherwise": "TestCTRD09_ReadOtherwise",
}

// TestEveryCauseIsShown: there is a test for each.
func TestEveryCauseIsShown(t *testing.T) {
	shown := map[string]bool{}
	for code := range elsewhere {
		shown[code] = true
	}
	live := 0
	count := func(code string) {
		if !shown[code] {
			live++
		}
		shown[code] = true
	}
	for _, c := range opens {
		count(c.code)
	}
	for _, c := range brokens {
		count(c.code)
	}
	for _, c := range warnings {
		count(c.code)
	}
	known := map[string]bool{}
	for _, subject := range containerddoctor.Catalog() {
		for _, c := range subject.Causes {
			known[c.Code] = true
			if !shown[c.Code] {
				t.Errorf("%s: no test shows it", c.Code)
			}
		}
	}
	for code := range shown {
		if !known[code] {
			t.Errorf("%s is shown and not in the catalog", code)
		}
	}
	t.Logf("%d causes, %d of them shown by opens, brokens and warnings", len(known), live)
}

package lab

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"
)

// tick is the unit of times in /proc (sysconf _SC_CLK_TCK), 10 ms on every Linux.
const tick = 10 * time.Millisecond

// CPU is how much the process has used, in user and kernel mode.
func (p *Process) CPU(tb testing.TB) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		tb.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on, "state"
	var user, kernel time.Duration
	if _, err := fmt.Sscan(string(fields[11])+" "+string(fields[12]), &user, &kernel); err != nil {
		tb.Fatalf("reading the times of process %d: %v", p.pid, err)
	}
	return (user + kernel) * tick
}

// Resident is how much memory the process has, and had at most since it was started or [Process.ForgetPeak] was called; in bytes.
func (p *Process) Resident(tb testing.TB) (now, peak int64) {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		tb.Fatal(err)
	}
	for name, value := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &peak} {
		_, after, _ := bytes.Cut(status, []byte(name))
		if _, err := fmt.Sscan(string(after), value); err != nil {
			tb.Fatalf("reading %s of process %d: %v", name, p.pid, err)
		}
		*value <<= 10
	}
	return now, peak
}

// ForgetPeak has Resident's peak begin anew.
func (p *Process) ForgetPeak(tb testing.TB) {
	tb.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0); err != nil {
		tb.Fatal(err)
	}
}

// Descriptors is how many files and connections the process has open.
func (p *Process) Descriptors(tb testing.TB) int {
	tb.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		tb.Fatal(err)
	}
	return len(open)
}

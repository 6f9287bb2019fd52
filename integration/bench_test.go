package integration

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// BenchmarkUp starts the command on an empty directory, as a process, and waits
// for /healthz. It also reports the resident memory at that moment.
func BenchmarkUp(b *testing.B) {
	var resident float64
	for b.Loop() {
		b.StopTimer()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		cmd := exec.Command(lab.Program(), "up", "--data", filepath.Join(b.TempDir(), "sigstore"), "--listen", addr)
		b.StartTimer()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			if resp, err := http.Get("http://" + addr + "/healthz"); err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					break
				}
			}
			if time.Now().After(deadline) {
				b.Fatal("not ready after 30 s")
			}
		}
		b.StopTimer()
		resident += residentMiB(b, cmd.Process.Pid)
		cmd.Process.Kill()
		cmd.Wait()
		b.StartTimer()
	}
	b.ReportMetric(resident/float64(b.N), "MiB-resident")
}

func residentMiB(b *testing.B, pid int) float64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, found := bytes.Cut(status, []byte("VmRSS:"))
	if !found {
		b.Fatal("no VmRSS")
	}
	kib, err := strconv.ParseFloat(string(bytes.Fields(rest)[0]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readyLine is what touchmark up prints when it serves.
var readyLine = regexp.MustCompile(`Ready at (\S+)\n`)

// argumentsEnv makes this test binary the touchmark command.
const argumentsEnv = "TOUCHMARK_TEST_ARGUMENTS"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(argumentsEnv); arguments != "" {
		os.Args = append([]string{"touchmark"}, strings.Split(arguments, "\n")...)
		main()
	}
	os.Exit(m.Run())
}

// upProcess starts touchmark up in a process of its own and waits until it is ready.
func upProcess(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), argumentsEnv+"="+strings.Join([]string{"up", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0"}, "\n"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if found := readyLine.FindStringSubmatch(lines.Text() + "\n"); found != nil {
			return cmd, found[1]
		}
	}
	t.Fatalf("touchmark up ended before it was ready: %v", cmd.Wait())
	return nil, ""
}

// hang begins a request and does not end it.
func hang(t *testing.T, url string) {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	fmt.Fprint(connection, "POST /api/v2/signingCert HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
	// The server asks for the body: it is in the handler.
	if line, err := bufio.NewReader(connection).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
}

func TestOPS04_Signals(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd, _ := upProcess(t)
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want status 0", signal, err)
		}
	}

	// With a request under way the first signal waits for it, and the second one does not.
	cmd, url := upProcess(t)
	hang(t, url)
	begin := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	// It has taken the signal when it takes no more connections.
	for {
		response, err := http.Get(url + "/healthz")
		if err != nil {
			break
		}
		_ = response.Body.Close()
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatalf("the process did not wait for the request under way: %v", err)
	}
	ticker := time.NewTicker(100 * time.Millisecond) // as people do who press Ctrl-C again
	defer ticker.Stop()
	go func() {
		for range ticker.C {
			if cmd.Process.Signal(syscall.SIGINT) != nil {
				return
			}
		}
	}()
	err := cmd.Wait()
	ended, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || !ok || !ended.Signaled() || ended.Signal() != syscall.SIGINT {
		t.Errorf("the second signal did not end the process: %v", err)
	}
	if spent := time.Since(begin); spent > 20*time.Second {
		t.Errorf("it took %v", spent)
	}
}

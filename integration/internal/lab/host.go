package lab

import (
	"bufio"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Host is a host of its own for container clients: a file system above that of an installed [System], with processes of its own, on this machine's kernel and,
// without [OwnNetwork], its network. So clients read the files that they always read, such as /etc/containers/policy.json, and none of this machine's is touched. What is written is
// gone when the test ends, and so is every process that still runs.
//
// A new host has users alice and bob, whose containers have uids of their own, and the settings without which containers don't start in a container or a
// small virtual machine (see hostFiles). It has no policy.json and no registries.conf but those of its system.
type Host struct {
	System     System
	pid        int  // of its first process
	ownNetwork bool // and not this machine's
}

// Option is something special about a host.
type Option int

// OwnNetwork gives a host a network of its own: a loopback, and nothing that leads out of it but what [Host.Forward] does.
const OwnNetwork Option = 1

//go:embed host.sh
var hostScript string

// hostFiles are settings that are about the machine, not about what is tested.
var hostFiles = map[string]string{
	// The tests' machines have no systemd, may not raise limits, and have both kinds of cgroups, which crun does not take.
	"/etc/containers/containers.conf": `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`,
	"/etc/containers/storage.conf": `[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
`,
	"/etc/subuid": "alice:100000:65536\nbob:200000:65536\n",
	"/etc/subgid": "alice:100000:65536\nbob:200000:65536\n",
}

// hostAccounts are appended to the system's own.
var hostAccounts = map[string]string{
	"/etc/passwd": "alice:x:1001:1001::/home/alice:/bin/sh\nbob:x:1002:1002::/home/bob:/bin/sh\n",
	"/etc/group":  "alice:x:1001:\nbob:x:1002:\n",
}

// NewHost starts a host. Without root's rights, or without the system's clients, the test is skipped, and fails if CI=true asks for every test.
func NewHost(tb testing.TB, system System, options ...Option) *Host {
	tb.Helper()
	lower := system.root(tb)
	dir, upper := tb.TempDir(), ""
	// The host's users have to get to their files.
	if err := os.Chmod(dir, 0o711); err != nil {
		tb.Fatal(err)
	}
	upper = filepath.Join(dir, "upper")
	for path, text := range hostFiles {
		writeFile(tb, filepath.Join(upper, path), text)
	}
	for path, more := range hostAccounts {
		own, err := os.ReadFile(filepath.Join(lower, path))
		if err != nil {
			tb.Fatal(err)
		}
		writeFile(tb, filepath.Join(upper, path), string(own)+more)
	}
	cmd := exec.Command("sh", "-c", hostScript, "host.sh", lower, dir, os.TempDir(), tools(tb))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	ownNetwork := slices.Contains(options, OwnNetwork)
	if ownNetwork {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill() // and with the first process all of them
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		cmd.Wait()
		tb.Fatalf("starting a host of %s: %v\n%s", system, err, said.String())
	}
	h := &Host{System: system, pid: cmd.Process.Pid, ownNetwork: ownNetwork}
	if ownNetwork {
		h.Connect(tb)
	}
	return h
}

// Path is where a file of the host is seen from outside.
func (h *Host) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(h.pid), "root", path)
}

// Write writes a file of the host, readable by everybody, and the directories above it.
func (h *Host) Write(tb testing.TB, path, text string) {
	tb.Helper()
	writeFile(tb, h.Path(path), text)
}

// Root is the host's administrator.
func (h *Host) Root() Account { return Account{h, "root", 0, "/root"} }

// Alice is a user of the host.
func (h *Host) Alice() Account { return Account{h, "alice", 1001, "/home/alice"} }

// Bob is another one.
func (h *Host) Bob() Account { return Account{h, "bob", 1002, "/home/bob"} }

// Account is a user of a host.
type Account struct {
	Host *Host
	Name string
	UID  int
	Home string
}

// RuntimeDir is the user's $XDG_RUNTIME_DIR; root has none.
func (a Account) RuntimeDir() string {
	if a.UID == 0 {
		return ""
	}
	return fmt.Sprintf("/run/user/%d", a.UID)
}

// Run runs a command of the host, as the user, and returns how it ended.
func (a Account) Run(tb testing.TB, args ...string) Result {
	tb.Helper()
	c, args := a.command(args)
	return c.Run(tb, args...)
}

// Start starts a command of the host, as the user. It ends with the host at the latest.
func (a Account) Start(tb testing.TB, args ...string) *Dialogue {
	tb.Helper()
	c, args := a.command(args)
	return c.Start(tb, args...)
}

// Must runs a command of the host, as the user, and fails the test unless it exits with the status.
func (a Account) Must(tb testing.TB, status int, args ...string) Result {
	tb.Helper()
	r := a.Run(tb, args...)
	if r.Status != status {
		tb.Fatalf("%s on %s: %s: exit status %d, want %d\n%s", a.Name, a.Host.System, strings.Join(args, " "), r.Status, status, r.Output())
	}
	return r
}

// Write writes a file of the user's own, and the directories above it.
func (a Account) Write(tb testing.TB, path, text string) {
	tb.Helper()
	a.Host.Write(tb, path, text)
	// Everything up to the home or runtime directory is the user's.
	for dir := path; dir != a.Home && dir != a.RuntimeDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Lchown(a.Host.Path(dir), a.UID, a.UID); err != nil {
			tb.Fatal(err)
		}
	}
}

func (a Account) command(args []string) (Command, []string) {
	enter := []string{"--target", strconv.Itoa(a.Host.pid), "--mount", "--pid"}
	if a.Host.ownNetwork {
		enter = append(enter, "--net")
	}
	env := []string{"HOME=" + a.Home, "USER=" + a.Name, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PODMAN_IGNORE_CGROUPSV1_WARNING=1"}
	if a.UID != 0 {
		enter = append(enter, "--setuid", strconv.Itoa(a.UID), "--setgid", strconv.Itoa(a.UID))
		env = append(env, "XDG_RUNTIME_DIR="+a.RuntimeDir())
	}
	return Command{Program: "nsenter", Env: env}, append(append(enter, "--"), args...)
}

func writeFile(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
}

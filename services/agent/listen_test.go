package agent_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/services/agent"
)

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "listen") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	mode := func(path string) os.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	listen := func(path, loopback string, user bool, inherited ...net.Listener) agent.Listeners {
		l, err := agent.Listen(t.Context(), inherited, path, loopback, user)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	host, user := listen(at("host/s"), "127.0.0.1:0", false), listen(at("user/s"), "", true)
	if mode(at("host/s")) != 0o666 || mode(at("host")) != 0o755 || mode(at("user/s")) != 0o600 || mode(at("user")) != 0o700 || user.Loopback != nil {
		t.Errorf("modes are %v %v %v %v", mode(at("host/s")), mode(at("host")), mode(at("user/s")), mode(at("user")))
	}
	if _, err := agent.Listen(t.Context(), nil, at("host/s"), "", false); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("two agents on one socket: %v", err)
	}
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for loopback, socket := range map[string]string{"0.0.0.0:0": at("a"), "127.0.0.1:x": at("b"), host.Loopback.Addr().String(): at("c"), "": at("file")} {
		if l, err := agent.Listen(t.Context(), nil, socket, loopback, false); err == nil {
			t.Errorf("listening on %s and %q", socket, loopback)
			_ = l.Close()
		}
	}

	// One that was killed leaves its socket behind.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("left")})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	again := listen(at("left"), "", false)

	// What systemd hands over is told apart by its kind.
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", at("x"))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if l := listen("/nowhere/s", "127.0.0.1:1", false, tcp, unix); l.Socket != unix || l.Loopback != tcp {
		t.Errorf("%+v", l)
	}
	if _, err := agent.Listen(t.Context(), []net.Listener{unix, tcp, tcp}, "", "", false); err == nil {
		t.Error("three sockets are taken over")
	}
	for _, l := range []agent.Listeners{again, user, {Socket: unix, Loopback: tcp}} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

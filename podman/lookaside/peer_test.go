package lookaside

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connect makes a TCP connection whose client's end belongs to a user, and returns the server's end.
func connect(t testing.TB, network, address string, uid int) (local, remote netip.AddrPort, client net.Conn) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("%s: %v", network, err)
	}
	defer listener.Close()
	if uid != os.Geteuid() {
		// A socket belongs to the file system user of the thread that makes it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(uid); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(os.Geteuid()) }()
	}
	client, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.LocalAddr().(*net.TCPAddr).AddrPort(), server.RemoteAddr().(*net.TCPAddr).AddrPort(), client
}

// ways are the two ways to learn of a peer.
var ways = map[string]func(local, remote netip.AddrPort) (int, bool){
	"either": new(Peers).UID, "tables": fromTables,
	"kernel": func(local, remote netip.AddrPort) (int, bool) { return askKernel(remote, local) },
}

func TestPeerUID(t *testing.T) {
	const bob = 4711
	local, remote, _ := connect(t, "tcp4", "127.0.0.1:0", os.Geteuid())
	if _, ok := askKernel(remote, local); !ok {
		delete(ways, "kernel")
		t.Log("this kernel has no sock_diag, or forbids it here")
	}
	for _, network := range [][2]string{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", "localhost:0"}} {
		t.Run(network[0], func(t *testing.T) {
			users := []int{os.Geteuid()}
			if os.Geteuid() == 0 {
				users = append(users, bob)
			}
			for _, want := range users {
				local, remote, client := connect(t, network[0], network[1], want)
				for name, peer := range ways {
					if uid, ok := peer(local, remote); !ok || uid != want {
						t.Errorf("%s: user %d, %v; want %d", name, uid, ok, want)
					}
					if _, ok := peer(local, netip.AddrPortFrom(remote.Addr(), 1)); ok {
						t.Errorf("%s: there is no connection from port 1", name)
					}
					if _, ok := peer(netip.AddrPortFrom(local.Addr(), 1), remote); ok {
						t.Errorf("%s: there is no connection to port 1", name)
					}
				}
				// A socket that its owner closed belongs to nobody, and reads as root's.
				client.Close()
				for name, peer := range ways {
					if uid, ok := peer(local, remote); ok {
						t.Errorf("%s: closed, and still user %d's", name, uid)
					}
				}
			}
		})
	}
}

func TestFindSocket(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	row := func(own, other, state, uid, inode string) string {
		return "   0: " + own + " " + other + " " + state + " 00000000:00000000 00:00000000 00000000 " + uid + "        0 " + inode + " 1 0000000000000000 20 4 30 10 -1\n"
	}
	const own, other = "0100007F:9C40", "0100007F:1D2B"
	for name, tt := range map[string]struct {
		table string
		uid   int
		ok    bool
	}{
		"found":              {head + row(other, own, "01", "0", "7") + row(own, other, "01", "1000", "8"), 1000, true},
		"the other end only": {head + row(other, own, "01", "0", "7"), 0, false},
		"another peer":       {head + row(own, "0100007F:0001", "01", "1000", "8"), 0, false},
		"closing":            {head + row(own, other, "05", "0", "8"), 0, false},
		"without an owner":   {head + row(own, other, "01", "0", "0"), 0, false},
		"no number":          {head + row(own, other, "01", "root", "8"), 0, false},
		"cut":                {head + "   0: " + own + " " + other + " 01", 0, false},
		"empty":              {"", 0, false},
	} {
		if uid, ok := findSocket(strings.NewReader(tt.table), own, other); uid != tt.uid || ok != tt.ok {
			t.Errorf("%s: %d, %v", name, uid, ok)
		}
	}
}

// A client may use an IPv6 socket for an IPv4 connection.
func TestPeerWithMappedAddress(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	defer unix.Close(fd)
	to := netip.MustParseAddr("::ffff:127.0.0.1").As16()
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: listener.Addr().(*net.TCPAddr).Port, Addr: to}); err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	local, remote := server.LocalAddr().(*net.TCPAddr).AddrPort(), server.RemoteAddr().(*net.TCPAddr).AddrPort()
	for name, peer := range ways {
		if uid, ok := peer(local, remote); !ok || uid != os.Geteuid() {
			t.Errorf("%s: user %d, %v; want %d", name, uid, ok, os.Geteuid())
		}
	}
}

// Whoever opens and closes connections without end does not have all sockets of the host looked through for each.
func TestPOD08_ClosedConnectionsAreCheap(t *testing.T) {
	local, remote, client := connect(t, "tcp4", "127.0.0.1:0", os.Geteuid())
	if _, ok := askKernel(remote, local); !ok {
		t.Skip("this kernel has no sock_diag, or forbids it here")
	}
	var p Peers
	if _, ok := p.UID(local, remote); !ok || !p.diag.Load() {
		t.Fatal("an open connection is nobody's")
	}
	client.Close()
	start := time.Now()
	for range 1000 {
		if uid, ok := p.UID(local, remote); ok {
			t.Fatalf("a closed connection is user %d's", uid)
		}
	}
	t.Logf("%s for each", time.Since(start)/1000)
}

func BenchmarkPeerUID(b *testing.B) {
	local, remote, _ := connect(b, "tcp4", "127.0.0.1:0", os.Geteuid())
	for name, peer := range ways {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				peer(local, remote)
			}
		})
	}
}

package agent

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
)

// One user of the host who opens connections without end is refused further
// ones; everybody else, and root above all, gets theirs.
func TestPOD08_OneUserCannotHaveAllConnections(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var uid int // who connects next
	l := limit(inner, func(net.Conn) int { return uid }, func(uid int) bool { return uid == 0 })
	defer func() { _ = l.Close() }()
	connect := func(as int) (net.Conn, error) {
		t.Helper()
		uid = as
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		if _, err := client.Write([]byte("G")); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			_ = conn.Close() // as net/http does
			return nil, err
		}
		return conn, nil
	}
	var last net.Conn
	for open := 0; open < maxPerUser; open++ {
		if last, err = connect(7); err != nil {
			t.Fatalf("connection %d: %v", open, err)
		}
	}
	if _, err := connect(7); !errors.Is(err, errCrowded) {
		t.Errorf("one too many: %v", err)
	}
	for open := maxPerUser; open < maxOthers; open++ {
		if _, err := connect(8); err != nil {
			t.Fatalf("another user's: %v", err)
		}
	}
	if _, err := connect(9); !errors.Is(err, errCrowded) {
		t.Errorf("one too many of others: %v", err)
	}
	for open := maxOthers; open < maxConns; open++ {
		if _, err := connect(0); err != nil {
			t.Fatalf("root's: %v", err)
		}
	}
	for range 2 { // closing twice makes room once
		_ = last.Close()
	}
	if last, err = connect(8); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
	_ = last.Close()
	if _, err := connect(0); err != nil {
		t.Errorf("root's, in the last place: %v", err)
	}
}

// A connection that is closed before anything is read from it counts for nobody.
func TestPOD08_ConnectionsThatSayNothing(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	c := &crowd{peer: func(net.Conn) int { return 7 }, owns: func(int) bool { return false }, byUser: make(map[int]int)}
	conn := &limitedConn{Conn: ours, crowd: c, leave: func() {}}
	_ = conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || c.all != 0 {
		t.Errorf("%v, %d", err, c.all)
	}
}

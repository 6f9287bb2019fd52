package lookaside

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
)

// maxTable bounds what is read of the kernel's table of TCP sockets, in bytes: two hundred thousand of them. Whoever is beyond is unknown.
const maxTable = 32 << 20

// established is the state of a connection that neither side has closed. Sockets in other states may have lost their owner, and then read as root's.
const established = "01"

// Peers knows whose connections are. The zero value is ready, and may be used by many goroutines.
type Peers struct{ diag atomic.Bool } // the kernel has found a socket by sock_diag

// UID returns the user to whom the socket at the other end of a TCP connection belongs; ok is false if the kernel does not know one: the connection is
// closed, or comes from another network namespace or machine. remote is the other end's address.
func (p *Peers) UID(local, remote netip.AddrPort) (uid int, ok bool) {
	if uid, ok := askKernel(remote, local); ok {
		p.diag.Store(true)
		return uid, true
	}
	// A kernel without sock_diag says what it says of a socket that is not there. Once it was seen to have it, it is believed: the tables cost milliseconds
	// for each connection that somebody opens and closes at once.
	if p.diag.Load() {
		return 0, false
	}
	return fromTables(local, remote)
}

// fromTables looks into the tables of all sockets, which takes milliseconds where there are thousands.
func fromTables(local, remote netip.AddrPort) (uid int, ok bool) {
	for _, table := range []struct {
		file   string
		mapped bool
	}{{"/proc/self/net/tcp", false}, {"/proc/self/net/tcp6", true}} {
		if !table.mapped && !(local.Addr().Unmap().Is4() && remote.Addr().Unmap().Is4()) {
			continue
		}
		f, err := os.Open(table.file)
		if err != nil {
			continue // no such protocol here
		}
		uid, ok = findSocket(io.LimitReader(f, maxTable), endpoint(remote, table.mapped), endpoint(local, table.mapped))
		f.Close()
		if ok {
			return uid, true
		}
	}
	return 0, false
}

// findSocket looks for an established socket with these ends in a table as proc_pid_net(5) describes it:
//
//	sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode
func findSocket(table io.Reader, own, other string) (uid int, ok bool) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(own)) {
			continue // cheap: this runs over all sockets of the host
		}
		f := bytes.Fields(lines.Bytes())
		if len(f) < 10 || string(f[1]) != own || string(f[2]) != other || string(f[3]) != established || string(f[9]) == "0" {
			continue
		}
		uid, err := strconv.Atoi(string(f[7]))
		return uid, err == nil
	}
	return 0, false
}

// endpoint spells an address as the kernel's tables do: words of 32 bits in the machine's byte order, in hexadecimal.
func endpoint(a netip.AddrPort, mapped bool) string {
	var raw []byte
	if addr := a.Addr().Unmap(); addr.Is4() && !mapped {
		ip := addr.As4()
		raw = ip[:]
	} else {
		ip := addr.As16()
		raw = ip[:]
	}
	words := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i += 4 {
		words = binary.BigEndian.AppendUint32(words, binary.NativeEndian.Uint32(raw[i:]))
	}
	return fmt.Sprintf("%s:%04X", bytes.ToUpper([]byte(hex.EncodeToString(words))), a.Port())
}

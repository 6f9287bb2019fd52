package lookaside

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// The messages of sock_diag(7): one request for one socket, and its answer.
const (
	headerSize   = 16               // struct nlmsghdr
	socketIDSize = 48               // struct inet_diag_sockid
	requestSize  = headerSize + 56  // and struct inet_diag_req_v2
	answerSize   = headerSize + 72  // and struct inet_diag_msg
	diagTimeout  = 10 * time.Second // the kernel answers at once; a lost answer must not keep us
	stateOpen    = 1                // TCP_ESTABLISHED: in other states a socket may have lost its owner, and then reads as root's
)

// askKernel asks for the owner of the socket with these ends. ok is false if there is none, or the kernel can't be asked: sock_diag is not built in, or
// a sandbox forbids netlink. Unlike the tables in /proc its cost does not grow with the sockets of the host.
func askKernel(own, other netip.AddrPort) (uid int, ok bool) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(diagTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return 0, false
	}
	request := socketRequest(own, other)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, false
	}
	answer := make([]byte, 4096)
	n, from, err := unix.Recvfrom(fd, answer, 0)
	if sender, isNetlink := from.(*unix.SockaddrNetlink); err != nil || !isNetlink || sender.Pid != 0 { // 0 is the kernel
		return 0, false
	}
	return readSocket(answer[:n], own, other)
}

// socketRequest is the message that asks for a socket, in the machine's byte order but for ports and addresses.
func socketRequest(own, other netip.AddrPort) []byte {
	family := byte(unix.AF_INET6)
	if own.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	b := make([]byte, 0, requestSize)
	b = binary.NativeEndian.AppendUint32(b, requestSize)
	b = binary.NativeEndian.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence number and sender: one question, one socket
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<stateOpen)
	b = binary.BigEndian.AppendUint16(b, own.Port())
	b = binary.BigEndian.AppendUint16(b, other.Port())
	for _, addr := range []netip.Addr{own.Addr().Unmap(), other.Addr().Unmap()} {
		raw := addr.AsSlice()
		b = append(append(b, raw...), make([]byte, 16-len(raw))...)
	}
	b = append(b, 0, 0, 0, 0)                                        // any interface
	return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // INET_DIAG_NOCOOKIE
}

// readSocket reads the answer. It must be about the very socket that was asked for: where there is none, the kernel may name the one that listens. A
// client's IPv6 socket may hold an IPv4 connection, whose addresses are then mapped ones.
func readSocket(answer []byte, own, other netip.AddrPort) (uid int, ok bool) {
	if len(answer) < answerSize || binary.NativeEndian.Uint16(answer[4:]) != unix.SOCK_DIAG_BY_FAMILY {
		return 0, false // or an error
	}
	message := answer[headerSize:answerSize] // family, state, timer, retransmits, the socket's ID
	id, tail := message[4:4+socketIDSize], message[4+socketIDSize:]
	ports, ends := id[:4], id[4:36]
	if message[1] != stateOpen || binary.BigEndian.Uint16(ports) != own.Port() || binary.BigEndian.Uint16(ports[2:]) != other.Port() ||
		socketAddr(message[0], ends[:16]) != own.Addr().Unmap() || socketAddr(message[0], ends[16:]) != other.Addr().Unmap() ||
		binary.NativeEndian.Uint32(tail[16:]) == 0 { // tail: expires, rqueue, wqueue, uid, inode
		return 0, false
	}
	return int(binary.NativeEndian.Uint32(tail[12:])), true
}

// socketAddr reads one of the addresses of a socket's ID.
func socketAddr(family byte, raw []byte) netip.Addr {
	switch family {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(raw[:4]))
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(raw)).Unmap()
	}
	return netip.Addr{}
}

package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/touchmark/touchmark/podman/policyjson"
)

func checkAgent(ctx context.Context, s *snapshot) {
	if !s.Intent.agent() || s.Agent == nil {
		return
	}
	status, err := s.Ask(ctx, s.Agent, s.Intent.Socket)
	if err != nil {
		s.Find("agent-down", s.At(s.Intent.Socket), "%s", s.Name(err.Error()))
	}
	s.checkPort(status.UID)
}

// checkPort finds out whose socket clients reach when they ask for the
// lookaside. What stands there cannot sign, but it can refuse, and replay for
// as long as a countersignature lasts. With socket activation it is root's.
func (s *snapshot) checkPort(agent int) {
	u, err := url.Parse(s.Intent.Lookaside)
	if err != nil || !s.Live {
		return
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return
	}
	listeners := listeners(uint16(port))
	for _, uid := range listeners {
		if uid != 0 && uid != agent && uid != s.Host.UID {
			s.Find("agent-port-taken", s.Intent.Lookaside, "uid %d listens there", uid)
		}
	}
	if len(listeners) == 0 && agent >= 0 {
		s.Find("agent-not-listening", s.Intent.Lookaside, "registries.d leads there, and nothing listens there")
	}
}

// listeners are the users whose sockets listen on a TCP port of this machine's
// loopback, or of all addresses, by proc(5).
func listeners(port uint16) (uids []int) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue // without IPv6 there is no tcp6
		}
		for _, line := range strings.Split(string(data), "\n") {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid
			f := strings.Fields(line)
			if len(f) < 8 || f[3] != "0A" {
				continue
			}
			addr, hexPort, ok := strings.Cut(f[1], ":")
			if n, err := strconv.ParseUint(hexPort, 16, 16); !ok || err != nil || uint16(n) != port || !local(addr) {
				continue
			}
			if uid, err := strconv.Atoi(f[7]); err == nil {
				uids = append(uids, uid)
			}
		}
	}
	return uids
}

// local reports whether an address of proc(5), in hexadecimal of the machine's
// byte order, is reached by 127.0.0.1 or ::1.
func local(hex string) bool {
	raw := make([]byte, 0, 16)
	for i := 0; i+8 <= len(hex); i += 8 { // words of 32 bits
		n, err := strconv.ParseUint(hex[i:i+8], 16, 32)
		if err != nil {
			return false
		}
		raw = append(raw, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	addr, ok := netip.AddrFromSlice(raw)
	addr = addr.Unmap()
	return ok && (addr.IsLoopback() || addr.IsUnspecified())
}

// clockSlack is how far a clock may be off that nothing keeps, before a
// countersignature's ten minutes suffer.
const clockSlack = time.Minute

func checkClock(_ context.Context, s *snapshot) {
	made := time.Time{}
	for _, k := range s.publicKeys() {
		if k.since.After(made) {
			made = k.since
		}
	}
	if resolved, _, err := s.Resolve(s.At(s.Intent.Public)); s.Intent.Public != "" && err == nil {
		if info, err := os.Stat(resolved); err == nil && info.ModTime().After(made) {
			made = info.ModTime()
		}
	}
	if made.After(s.Now.Add(clockSlack)) {
		s.Find("clock-behind", "the clock", "it is %s, and the host's key was made at %s", s.Now.UTC().Format(time.RFC3339), made.UTC().Format(time.RFC3339))
	}
	if s.Clock == nil {
		return
	}
	if kept, err := s.Clock(); err == nil && !kept {
		s.Find("clock-unsynchronised", "the clock", "nothing keeps it")
	}
}

// checkCompiledOut looks for the sentence with which Debian 12's clients refuse
// every Sigstore signature.
func checkCompiledOut(_ context.Context, s *snapshot) {
	if s.policy.file == nil || !demands(s.policy.file, policyjson.SigstoreSigned) {
		return
	}
	for _, program := range s.clients() {
		if has, err := s.contains(program, "Debian-local change: sigstore disabled"); err == nil && has {
			s.Find("sigstore-compiled-out", program, "%s", "it refuses every Sigstore signature, and policy.json demands one")
		}
	}
}

// demands reports whether any rule has a requirement of the type.
func demands(f *policyjson.File, kind string) bool {
	rules := [][]policyjson.Requirement{f.Default}
	for _, scopes := range f.Transports {
		for _, reqs := range scopes {
			rules = append(rules, reqs)
		}
	}
	for _, reqs := range rules {
		for _, r := range reqs {
			if r.Type == kind {
				return true
			}
		}
	}
	return false
}

// contains reports whether a program's file has a text.
func (s *snapshot) contains(path, text string) (bool, error) {
	resolved, _, err := s.Resolve(path)
	if err != nil {
		return false, err
	}
	info, err := os.Stat(resolved)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxProgram {
		return false, fmt.Errorf("%s: no program", path)
	}
	f, err := os.Open(resolved)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return containsText(f, text)
}

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

	"golang.org/x/sys/unix"

	"github.com/touchmark/touchmark/podman/policyjson"
)

// Agent is the running agent.
type Agent interface {
	// Status asks the agent how it is. An error says that it does not answer.
	Status(context.Context) (AgentStatus, error)
}

// AgentStatus is how an agent is.
type AgentStatus struct {
	// Enforcing is false when it admits what it would refuse.
	Enforcing bool
	// Observing says what is only observed, such as "policy release".
	Observing []string
	// Reload says why the files on disk cannot be used; "" if they are in use.
	Reload string
	// Refresh says which trust roots cannot be refreshed, and why.
	Refresh []string
	// Store says why it cannot remember; "" if it can.
	Store string
	// Stale names trust roots that are too old to vouch for anything.
	Stale []string
	// Notices are what its rules have to say, such as exceptions that end.
	Notices []string
	// UID is the user it runs as; -1 if that is not known.
	UID int
}

// agentTimeout bounds the question to the agent, which answers from memory.
const agentTimeout = 5 * time.Second

func checkAgent(ctx context.Context, s *snapshot) {
	if !s.Intent.agent() || s.Agent == nil {
		return
	}
	asked, cancel := context.WithTimeout(ctx, agentTimeout)
	status, err := s.Agent.Status(asked)
	cancel()
	if err != nil {
		s.find("agent-down", s.at(s.Intent.Socket), "%s", s.name(err.Error()))
		status.UID = -1
	} else {
		s.checkStatus(status)
	}
	s.checkPort(status.UID)
}

func (s *snapshot) checkStatus(status AgentStatus) {
	where := s.at(s.Intent.Socket)
	if !status.Enforcing && len(status.Observing) == 0 {
		s.find("agent-observing", where, "the agent observes: what it would refuse gets in")
	}
	if what := strings.Join(status.Observing, ", "); what != "" {
		s.find("agent-observing", where, "the agent only observes %s: what it would refuse gets in", what)
	}
	if status.Reload != "" {
		s.find("agent-reload-failing", where, "%s", status.Reload)
	}
	for _, why := range status.Refresh {
		s.find("agent-refresh-failing", where, "%s", why)
	}
	if status.Store != "" {
		s.find("agent-store-failing", where, "%s", status.Store)
	}
	for _, root := range status.Stale {
		s.find("trust-stale", where, "%s", root)
	}
	for _, notice := range status.Notices {
		s.find("notice", where, "%s", notice)
	}
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
			s.find("agent-port-taken", s.Intent.Lookaside, "uid %d listens there", uid)
		}
	}
	if len(listeners) == 0 && agent >= 0 {
		s.find("agent-not-listening", s.Intent.Lookaside, "registries.d leads there, and nothing listens there")
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
	if resolved, _, err := s.resolve(s.at(s.Intent.Public)); s.Intent.Public != "" && err == nil {
		if info, err := os.Stat(resolved); err == nil && info.ModTime().After(made) {
			made = info.ModTime()
		}
	}
	if made.After(s.Now.Add(clockSlack)) {
		s.find("clock-behind", "the clock", "it is %s, and the host's key was made at %s", s.Now.UTC().Format(time.RFC3339), made.UTC().Format(time.RFC3339))
	}
	if s.Clock == nil {
		return
	}
	if kept, err := s.Clock(); err == nil && !kept {
		s.find("clock-unsynchronised", "the clock", "nothing keeps it")
	}
}

// KernelClock asks the kernel whether something keeps the clock: adjtimex(2).
func KernelClock() (kept bool, err error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, fmt.Errorf("asking about the clock: %w", err)
	}
	return t.Status&unix.STA_UNSYNC == 0, nil
}

// checkCompiledOut looks for the sentence with which Debian 12's clients refuse
// every Sigstore signature.
func checkCompiledOut(_ context.Context, s *snapshot) {
	if s.policy.file == nil || !demands(s.policy.file, policyjson.SigstoreSigned) {
		return
	}
	for _, program := range s.clients() {
		if has, err := s.contains(program, "Debian-local change: sigstore disabled"); err == nil && has {
			s.find("sigstore-compiled-out", program, "%s", "it refuses every Sigstore signature, and policy.json demands one")
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
	resolved, _, err := s.resolve(path)
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

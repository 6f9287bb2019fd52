package lab

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
)

// WireAddresses are those of the two ends of [Host.Wire].
var WireAddresses = [2]string{"10.77.0.1", "10.77.0.2"}

// Wire connects the host with another one by a network of these two, which carries so much each way: 2500mbit, say, as tc writes rates. Both need
// [OwnNetwork]. The host gets the first of [WireAddresses], the other one the second.
func (h *Host) Wire(tb testing.TB, other *Host, rate string) {
	tb.Helper()
	coretest.RequireTool(tb, "ip")
	coretest.RequireTool(tb, "tc")
	h.network(tb, "ip link add name wire type veth peer name wire netns "+strconv.Itoa(other.pid))
	for i, end := range []*Host{h, other} {
		end.network(tb, "ip address add "+WireAddresses[i]+"/30 dev wire")
		end.network(tb, "ip link set wire up")
		// Two milliseconds may leave at once, as from a switch, and a queue of ten is kept.
		end.network(tb, "tc qdisc add dev wire root tbf rate "+rate+" burst 640kb latency 10ms")
	}
}

// network runs a command of this machine in the host's network.
func (h *Host) network(tb testing.TB, command string) {
	tb.Helper()
	if !h.ownNetwork {
		tb.Fatal("the host has the network of this machine, which is left alone")
	}
	args := strings.Fields(command)
	err := h.inNetwork(func() error {
		out, err := exec.CommandContext(tb.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, out)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

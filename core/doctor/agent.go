package doctor

import (
	"context"
	"strings"
	"time"
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
	// Reload says why the files on disk are not in use; "" if they are.
	Reload string
	// Refresh says which trust roots cannot be refreshed, and why.
	Refresh []string
	// Store says why it cannot remember; "" if it can.
	Store string
	// Stale names trust roots that are too old to vouch for anything.
	Stale []string
	// Notices are what its rules have to say, such as exceptions that end.
	Notices []string
	// Disconnected are parts of it that nobody asks, such as a plugin of containerd,
	// and why.
	Disconnected []string
	// UID is the user it runs as; -1 if that is not known.
	UID int
}

// agentTimeout bounds the question to the agent, which answers from memory.
const agentTimeout = 5 * time.Second

// Ask asks the agent, and adds a finding for each thing that is wrong with it.
// The error says that it does not answer; what that means is the doctor's to say.
func (e *Examination) Ask(ctx context.Context, agent Agent, socket string) (AgentStatus, error) {
	asked, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	status, err := agent.Status(asked)
	if err != nil {
		return AgentStatus{UID: -1}, err
	}
	e.checkStatus(status, e.At(socket))
	return status, nil
}

func (e *Examination) checkStatus(status AgentStatus, where string) {
	if !status.Enforcing && len(status.Observing) == 0 {
		e.Find("agent-observing", where, "the agent observes: what it would refuse gets in")
	}
	if what := strings.Join(status.Observing, ", "); what != "" {
		e.Find("agent-observing", where, "the agent only observes %s: what it would refuse gets in", what)
	}
	if status.Reload != "" {
		e.Find("agent-reload-failing", where, "%s", status.Reload)
	}
	for _, why := range status.Refresh {
		e.Find("agent-refresh-failing", where, "%s", why)
	}
	if status.Store != "" {
		e.Find("agent-store-failing", where, "%s", status.Store)
	}
	for _, root := range status.Stale {
		e.Find("trust-stale", where, "%s", root)
	}
	for _, notice := range status.Notices {
		e.Find("notice", where, "%s", notice)
	}
}

package doctor

import (
	"context"
	"fmt"
	"path/filepath"
)

// checkAgent looks at who answers the verifier's questions.
func checkAgent(ctx context.Context, s *snapshot) {
	socket := s.At(s.Intent.Socket)
	if s.Intent.Socket == "" || !s.hook() {
		return
	}
	if dir := filepath.Dir(socket); s.Exists(dir) {
		s.CheckWritable("agent-socket-writable", dir)
	}
	if s.Exists(socket) {
		if uid := s.OwnerOf(socket); uid != 0 {
			s.Find("agent-foreign", socket, "it belongs to uid %d", uid)
		}
	}
	if s.Agent == nil {
		return
	}
	status, err := s.Ask(ctx, s.Agent, s.Intent.Socket)
	for _, part := range status.Disconnected {
		s.Find("nri-not-connected", socket, "%s", part)
	}
	if err != nil {
		code, what := "agent-down", ""
		if s.Intent.NRI {
			what = "; and without it no container is made (nri: true)"
		} else if s.Intent.Standalone {
			if code = "agent-down-standalone"; s.without() {
				code, what = "agent-down", "; and touchmark, which could decide without it, is not found"
			}
		}
		s.Find(code, socket, "%s%s", s.Name(err.Error()), what)
	}
}

// without reports whether it was found that nothing decides without the agent.
func (s *snapshot) without() bool {
	for _, f := range s.Findings {
		if f.Code == "touchmark-missing" {
			return true
		}
	}
	return false
}

func checkClock(_ context.Context, s *snapshot) {
	if s.Clock == nil {
		return
	}
	if kept, err := s.Clock(); err != nil {
		s.Find("clock-unsynchronised", "the clock", "%s", fmt.Sprint(err))
	} else if !kept {
		s.Find("clock-unsynchronised", "the clock", "nothing keeps it")
	}
}

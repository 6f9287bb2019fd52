package agentcmd

import (
	"context"
	"log/slog"
	"time"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/asagent"
	"github.com/touchmark/touchmark/containerd/nri"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/services/agent"
)

// nriClient is the name under which the decisions about containers are recorded.
const nriClient = "containerd-nri"

// nriParts is containerd's NRI plugin, if config.yaml wants it: it judges as the
// verifier's questions are judged, with the node's own credentials.
func nriParts(c *hostconfig.Config, admitter gate.Admitter, recorder *agent.Recorder, logger *slog.Logger) []agent.Part {
	if !c.Containerd.NRI {
		return nil
	}
	judge := asagent.Containerd(c, admitter, complaints(logger))
	plugin := nri.New(nri.Config{Socket: c.Containerd.NRISocket, Logger: logger, Decide: func(ctx context.Context, req gate.Request, repository string) gate.Verdict {
		ctx = gate.WithAsker(ctx, gate.Asker{Client: nriClient}) // containerd is root's
		start := time.Now()
		v := judge(ctx, req, repository, true)
		recorder.Record(ctx, v, time.Since(start))
		return v
	}})
	return []agent.Part{{Name: "containerd NRI", Run: plugin.Run, Status: func() agent.PartStatus {
		s := plugin.Status()
		return agent.PartStatus{Connected: s.Connected, Since: s.Since.UTC(), Peer: s.Runtime, Error: s.Error, Admitted: s.Admitted, Refused: s.Refused}
	}}}
}

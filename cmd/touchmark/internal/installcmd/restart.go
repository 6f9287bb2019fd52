package installcmd

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/touchmark/touchmark/containerd/distribution"
	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/containerd/node"
)

// restartTimeout is for a containerd with thousands of containers.
const restartTimeout = 2 * time.Minute

// RestartContainerd restarts containerd's unit, and waits until it answers.
func RestartContainerd(ctx context.Context, c containerddoctor.Config) error {
	unit := distribution.Detect(c.Host).Service
	if unit == "" {
		return fmt.Errorf("restarting containerd: it is not known by which unit it runs; restart it by hand")
	}
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "systemctl", "restart", unit).CombinedOutput(); err != nil {
		return fmt.Errorf("restarting %s: %w: %s", unit, err, strings.TrimSpace(string(out)))
	}
	for {
		daemon, err := node.Dial(ctx, c.Address())
		if err == nil {
			return daemon.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("restarting %s: %w", unit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

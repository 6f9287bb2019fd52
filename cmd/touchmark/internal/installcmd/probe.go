package installcmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/core/doctor"
)

// probeContainerd has containerd pull an image that must be refused, by each way
// that asks verifiers.
func probeContainerd(cmd *cobra.Command, t *target) error {
	report := new(doctor.Report)
	c := containerddoctor.Config{Host: t.host, Daemon: t.node, Live: true}
	if err := (containerddoctor.Probe{}).Run(cmd.Context(), c, report); err != nil {
		return exit.Undecided(err)
	}
	out := cmd.OutOrStdout()
	open, unknown := false, false
	for _, tried := range report.Tried {
		switch {
		case tried.Admitted:
			open = true
			fmt.Fprintf(out, "probe: %s admitted an unsigned image\n", tried.Way)
		case tried.Unknown:
			unknown = true
			fmt.Fprintf(out, "probe: %s did not pull an unsigned image, for another reason: %s\n", tried.Way, console.Printable(tried.Said))
		default:
			fmt.Fprintf(out, "probe: %s refused an unsigned image, as it should\n", tried.Way)
		}
	}
	switch {
	case open:
		return exit.Refused(errors.New("unsigned images still get in; touchmark doctor containerd names the cause"))
	case unknown:
		return exit.Undecided(errors.New("whether unsigned images get in could not be tried"))
	}
	return nil
}

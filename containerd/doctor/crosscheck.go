package doctor

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/touchmark/touchmark/containerd/config"
)

// checkReading holds what we read of the configuration against what the running
// containerd's own program makes of it: a release to come may have other defaults or
// another order of files, and then nothing that is said here of settings can be
// relied on. What the program cannot say either is no finding: it would not start.
func checkReading(ctx context.Context, s *snapshot) {
	if s.config == nil || s.process.program == "" || !s.config.Release.Verifies() {
		return
	}
	its, err := config.Dump(ctx, s.process.program, s.configFile, s.config.Release)
	if err != nil {
		s.notes = append(s.notes, "what containerd makes of its configuration could not be asked: "+s.Name(err.Error()))
		return
	}
	want, got := decisive(its), decisive(s.config)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] != got[name] {
			s.Find("config-read-otherwise", s.configFile, "%s is %s to %s, and was read as %s here", name, strconv.Quote(want[name]), s.Name(s.process.program), strconv.Quote(got[name]))
		}
	}
}

// decisive are the settings that decide whether verifiers are asked, by their names.
func decisive(c *config.Config) map[string]string {
	out := map[string]string{
		"whether verifiers are disabled": strconv.FormatBool(c.Verifier.Disabled), "whether transfers are disabled": strconv.FormatBool(c.Transfer.Disabled),
		"whether CRI is disabled": strconv.FormatBool(c.CRI.Disabled), "whether CRI is invalid": strconv.FormatBool(c.CRI.Invalid != ""),
	}
	for name, s := range settings(c) {
		out[name] = s.value
	}
	var local []string
	for _, l := range c.CRI.LocalPull {
		local = append(local, l.Name)
	}
	slices.Sort(local)
	out["what makes CRI pull by itself"] = strings.Join(slices.Compact(local), ", ")
	return out
}

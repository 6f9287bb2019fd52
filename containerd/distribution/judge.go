package distribution

import (
	"fmt"
	"slices"

	"github.com/touchmark/touchmark/containerd/config"
)

// Verdict is what image verifiers can do on a node.
type Verdict string

// The verdicts.
const (
	Enforcing Verdict = "enforcing" // once the verifier is installed, nothing else is to be done
	Fixable   Verdict = "fixable"   // settings must be changed, which can be done
	Proxy     Verdict = "proxy"     // the hook cannot work: use Touchmark's registry proxy
)

// Judge says what image verifiers can do on a node whose containerd has a
// configuration, as [config.Load] reads it with the daemon's release, and why not
// more. It looks at the configuration only: whether a verifier is there, and what
// really happens, the doctor says.
func (d Distribution) Judge(c *config.Config) (verdict Verdict, why []string) {
	switch {
	case !c.Release.Verifies():
		return Proxy, []string{fmt.Sprintf("containerd %s has no image verifiers, which came with 2.0", c.Release)}
	case d.Override.Kind == Nothing:
		return Proxy, []string{d.Override.How}
	case !c.CRI.Disabled && !c.CRI.Transfers:
		return Proxy, []string{fmt.Sprintf("CRI of containerd %s pulls without asking verifiers, whatever its configuration: 2.1 is the first that asks", c.Release)}
	case d.Name == Docker && c.CRI.Disabled:
		return Proxy, []string{"Docker pulls images by itself, and asks no verifiers of containerd's"}
	}
	from := func(file string) string {
		if file == "" {
			return "by default"
		}
		return "in " + file
	}
	if c.Verifier.Disabled {
		why = append(why, fmt.Sprintf("disabled_plugins %s has the image verifiers", from(c.Verifier.From["disabled_plugins"])))
	}
	if c.Verifier.MaxVerifiers == 0 {
		why = append(why, fmt.Sprintf("max_verifiers is 0 %s", from(c.Verifier.From["max_verifiers"])))
	}
	if !c.CRI.Disabled {
		for _, s := range c.CRI.LocalPull {
			entry := fmt.Sprintf("%s is %s %s, so that CRI pulls without verifiers", s.Name, s.Value, from(s.File))
			if s.Edit {
				entry += "; no later file can take it out"
			}
			why = append(why, entry)
		}
		if c.CRI.Invalid != "" {
			why = append(why, "CRI does not start: "+c.CRI.Invalid)
		}
	}
	if len(why) > 0 {
		return Fixable, slices.Clip(why)
	}
	return Enforcing, nil
}

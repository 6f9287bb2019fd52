package installcmd

import (
	"maps"
	"slices"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/podman/access"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/native"
	"github.com/touchmark/touchmark/podman/policyjson"
)

// compileNative puts what the policies compile to into the options. Policies and
// trust roots themselves are not installed: nobody would read them.
func compileNative(o *install.Options, set *policy.Set, roots []*trust.Root) error {
	rules, err := native.Compile(set, roots)
	if err != nil {
		return exit.Usage(err)
	}
	a, err := access.Load(o.Host)
	if err != nil {
		return exit.Undecided(err)
	}
	o.Table, o.Policies, o.Roots, o.Systemd = a.Table(), nil, nil, false
	o.Scopes = slices.Sorted(maps.Keys(rules))
	o.Rules, o.Lookasides = map[string][]policyjson.Requirement{}, map[string]string{}
	for _, scope := range o.Scopes {
		rule := rules[scope]
		o.Rules[scope] = rule.Requirements
		if rule.Attachments {
			o.Attachments = append(o.Attachments, scope)
		}
		if rule.Lookaside != "" {
			o.Lookasides[scope] = rule.Lookaside
		}
	}
	return nil
}

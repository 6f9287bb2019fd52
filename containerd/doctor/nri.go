package doctor

import (
	"context"
	"slices"

	"github.com/touchmark/touchmark/containerd/nri"
)

// checkNRI looks whether a container can be made that the agent's NRI plugin has
// not seen. NRI itself goes on without a plugin that ends or is too slow; only its
// validator refuses then.
func checkNRI(_ context.Context, s *snapshot) {
	if !s.Intent.NRI || s.config == nil {
		return
	}
	n := s.config.NRI
	if s.config.Release.Before(2, 4) {
		s.Find("nri-release", s.configFile, "this is containerd %s", s.config.Release)
	}
	switch {
	case n.Disabled:
		s.Find("nri-disabled", s.origin(n.From["disable"], "plugins.'io.containerd.nri.v1.nri'.disable"), "containers are made without asking")
		return
	case !n.Validator.Enabled:
		s.Find("nri-not-enforced", s.origin(n.From["default_validator.enable"], "default_validator.enable"), "is false")
	case !slices.Contains(n.Validator.RequiredPlugins, nri.Name):
		s.Find("nri-not-required", s.origin(n.From["default_validator.required_plugins"], "default_validator.required_plugins"), "does not name %s", nri.Name)
	case n.Validator.TolerateMissing != "":
		s.Find("nri-tolerated", s.origin(n.From["default_validator.tolerate_missing_plugins_annotation"], "default_validator.tolerate_missing_plugins_annotation"), "is %s", n.Validator.TolerateMissing)
	}
	if n.DisableConnections {
		s.Find("nri-no-connections", s.origin(n.From["disable_connections"], "disable_connections"), "is true")
	}
}

package plugin

import (
	"context"

	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// As config.toml calls the plugin: TYPE.ID. The type is containerd's; its package of
// types asks not to be imported from elsewhere.
const (
	Type plugin.Type = "io.containerd.image-verifier.v1"
	ID   string      = "touchmark"
)

// A blank import is how plugins get into a containerd, so that this can be done
// nowhere else.
func init() {
	registry.Register(&plugin.Registration{
		Type: Type, ID: ID, Config: new(Config),
		InitFn: func(ic *plugin.InitContext) (any, error) {
			// containerd ends plugins by closing them, and not by this context.
			ctx, cancel := context.WithCancel(context.WithoutCancel(ic.Context))
			return &closer{New(ctx, *ic.Config.(*Config)), cancel}, nil
		},
	})
}

// closer is a Verifier as containerd has it.
type closer struct {
	*Verifier
	cancel context.CancelFunc
}

// Close ends what runs in the background.
func (c *closer) Close() error {
	c.cancel()
	return nil
}

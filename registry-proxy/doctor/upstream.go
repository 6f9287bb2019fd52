package doctor

import (
	"context"
	"errors"

	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

// checkUpstreams looks at the ways to the registries behind the proxy, and asks them
// where that is allowed.
func checkUpstreams(ctx context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	for _, r := range s.conf.Registries {
		where := s.registryField(r, "upstream")
		if plain(r.Upstream) {
			s.Find("upstream-http", where, "is asked by plain HTTP")
		}
		if !s.Network {
			continue
		}
		err := service.Reach(ctx, r)
		switch {
		case err == nil:
		case errors.Is(err, registryproxy.ErrElsewhere):
			s.Find("upstream-token-host", where, "%v", err)
		case errors.Is(err, registryproxy.ErrUnauthorized):
			s.Find("upstream-unauthorized", where, "%v", err)
		default:
			s.Find("upstream-unreachable", where, "%v", err)
		}
	}
}

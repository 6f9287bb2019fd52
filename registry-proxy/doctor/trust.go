package doctor

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

// soon is how long before its end a certificate or a trust root is told of.
const soon = 14 * 24 * time.Hour

// checkRoots looks at the trust roots of all registries.
func checkRoots(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	seen := map[string]bool{}
	for _, registry := range s.conf.Registries {
		for _, root := range registry.Trust {
			if root.File == "" || seen[root.File] {
				continue
			}
			seen[root.File] = true
			loaded, err := trust.LoadAll(root.Name, root.File)
			if err != nil {
				s.Find("trust-unusable", root.File, "%v", err)
				continue
			}
			for _, r := range loaded {
				s.checkRoot(root.File, r)
			}
		}
	}
}

// cached is a trust root that is followed, as the proxy has seen it last. Its repository
// is not asked.
func (s *snapshot) cached(r config.Root) (*trust.Root, error) {
	f, err := service.Follower(r, s.conf.TUFDir(r))
	if err != nil {
		return nil, err
	}
	return f.Cached()
}

// checkFollowed looks at the trust roots that are followed.
func checkFollowed(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	for _, r := range s.conf.Followed() {
		dir := s.conf.TUFDir(r)
		root, err := s.cached(r)
		switch {
		case errors.Is(err, fs.ErrPermission):
			s.Unreadable(dir, err)
			continue
		case errors.Is(err, follow.ErrUnseen):
			s.Find("trust-unseen", dir, "%v", err)
			continue
		case err != nil:
			s.Find("trust-unusable", dir, "%v", err)
			continue
		}
		s.checkRoot(dir, root)
		expires := root.Until.Add(-r.TUF.MaxStale)
		switch {
		case !s.Now.Before(root.Until):
			s.Find("trust-ended", dir, "the metadata of the trust root %s expired on %s, and maxStale is over since %s", r.Name, expires.UTC().Format(time.RFC3339), root.Until.UTC().Format(time.RFC3339))
		case s.Now.After(expires):
			s.Find("trust-expired", dir, "the metadata of the trust root %s expired on %s; it is used until %s", r.Name, expires.UTC().Format(time.RFC3339), root.Until.UTC().Format(time.RFC3339))
		}
	}
}

func (s *snapshot) checkRoot(file string, r *trust.Root) {
	if err := r.Check(); err != nil {
		s.Find("trust-unusable", file, "%v", err)
		return
	}
	end, ok := endOf(r)
	switch {
	case !ok:
	case end.Before(s.Now):
		s.Find("trust-ended", file, "the trust root %s ended on %s", r.Name, end.Format(time.RFC3339))
	case end.Before(s.Now.Add(soon)):
		s.Find("trust-ends", file, "the trust root %s ends on %s", r.Name, end.Format(time.RFC3339))
	}
}

// endOf is when nothing new can be verified by a root any more: when the last of its
// authorities, or of its logs, has ended. Each is taken as a
// whole, since one that has ended beside one that has not is the ordinary rotation.
func endOf(r *trust.Root) (end time.Time, ok bool) {
	var authorities, logs []trust.Window
	for _, ca := range r.CertificateAuthorities {
		w := ca.Window
		if ca.Root != nil && (w.End.IsZero() || ca.Root.NotAfter.Before(w.End)) {
			w.End = ca.Root.NotAfter
		}
		authorities = append(authorities, w)
	}
	for _, l := range r.Logs {
		logs = append(logs, l.Window)
	}
	for _, last := range []time.Time{lastEnd(authorities), lastEnd(logs)} {
		if !last.IsZero() && (!ok || last.Before(end)) {
			end, ok = last, true
		}
	}
	return end, ok
}

// lastEnd is the last end of some windows; zero if one has no end, or there are none.
func lastEnd(windows []trust.Window) (last time.Time) {
	for _, w := range windows {
		if w.End.IsZero() {
			return time.Time{}
		}
		if w.End.After(last) {
			last = w.End
		}
	}
	return last
}

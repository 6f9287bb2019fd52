package doctor

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/touchmark/touchmark/containerd/sweep"
	"github.com/touchmark/touchmark/core/gate"
)

// checkImages counts the images that are older than the verifier, which nobody
// judged when they came, and that no sweep has called admitted since.
func checkImages(ctx context.Context, s *snapshot) {
	since := s.installed()
	if s.Daemon == nil || s.daemonErr != nil || since.IsZero() {
		return
	}
	namespaces, err := s.Daemon.Namespaces(ctx)
	if err != nil {
		s.Find("containerd-down", s.address(), "%s", s.Name(err.Error()))
		return
	}
	for _, namespace := range namespaces {
		images, err := s.Daemon.Images(ctx, namespace)
		if err != nil {
			s.Find("containerd-down", s.address(), "%s", s.Name(err.Error()))
			return
		}
		var before []string
		for _, image := range images {
			if !image.Created.IsZero() && image.Created.Before(since) && image.Labels[sweep.VerdictLabel] != string(gate.OutcomeAdmitted) && !slices.Contains(before, image.Digest) {
				before = append(before, image.Digest)
			}
		}
		if len(before) > 0 {
			s.Find("images-unjudged", "namespace "+namespace, "%d images are older than the verifier, and no sweep has admitted them", len(before))
		}
	}
}

// installed is when the verifier was put into bin_dir; zero if it is not there.
func (s *snapshot) installed() time.Time {
	for _, p := range s.verifiers {
		if !p.ours {
			continue
		}
		if info, err := os.Lstat(p.path); err == nil {
			return changeTime(info)
		}
	}
	return time.Time{}
}

package podman_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// unsigned are words for images that nobody signed: no outage may be told in them.
var unsignedWords = []string{"is not signed", "no signature exists", "signature was required", "refused by touchmark"}

// fails wants a pull to fail for another reason than the lack of a signature, and to leave nothing.
func fails(t *testing.T, user lab.Account, image, want string) {
	t.Helper()
	for _, args := range [][]string{{"podman", "pull", "-q", image}, {"buildah", "pull", "-q", image}, {"skopeo", "copy", "-q", "docker://" + image, "dir:" + user.Home + "/copy"}} {
		r := user.Run(t, args...)
		if r.Status == 0 || !strings.Contains(r.Output(), want) {
			t.Errorf("%s: status %d, want it to fail with %q: %s", args, r.Status, want, r.Output())
		}
		for _, words := range unsignedWords {
			if strings.Contains(r.Output(), words) {
				t.Errorf("%s: an outage is told as %q: %s", args, words, r.Output())
			}
		}
	}
	user.Must(t, 1, "podman", "image", "exists", image)
}

// An outage reads as an outage, stops pulls and nothing else, and ends without anybody's help.
func TestPOD08_Outages(t *testing.T) {
	for _, system := range []lab.System{lab.Debian12, lab.Debian13} {
		t.Run(string(system), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			h := s.host(t, system)
			a, user := s.enforce(t, h.Root()), h.Alice()
			here, image := s.push(t, "team/here", alice), s.push(t, "team/app", alice)
			user.Must(t, 0, "podman", "pull", "-q", here)

			// The registry is down.
			s.registry.trouble(func(r *recorder) { r.down = true })
			fails(t, user, image, "503")
			s.registry.trouble(func(r *recorder) { r.down = false })

			// The agent is killed while it decides.
			hold := make(chan struct{})
			s.registry.trouble(func(r *recorder) { r.hold = hold })
			pull := user.Start(t, "skopeo", "copy", "-q", "docker://"+image, "dir:"+user.Home+"/midst")
			<-s.registry.held
			a.Kill()
			if r := pull.Wait(); r.Status == 0 || !strings.Contains(r.Stdout, "EOF") && !strings.Contains(r.Stdout, "connection reset") {
				t.Errorf("the agent was killed in the midst of a pull: status %d: %s", r.Status, r.Stdout)
			}
			s.registry.trouble(func(r *recorder) { r.hold = nil })
			close(hold)

			// It is away. What was pulled before runs.
			fails(t, user, image, "connection refused")
			user.Must(t, 0, "podman", "run", "--rm", "--network", "none", here)

			a.start(t)
			user.Must(t, 0, "podman", "run", "--rm", "--network", "none", image)
		})
	}
}

package podman_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// Two hundred pulls of an image at once are one verification: the registry is asked for evidence once.
func TestTwoHundredPullsAtOnce(t *testing.T) {
	const pulls = 200
	s := newSite(t)
	image := s.push(t, "team/app", alice)
	h := s.host(t, lab.Debian13)
	s.enforce(t, h.Root())
	s.registry.trouble(func(r *recorder) { r.asked = 0 })
	r := h.Root().Run(t, "sh", "-c", fmt.Sprintf(`yes '{"reference":"%s"}' | head -n %d | %s -workers %[2]d -policy %[4]s -registries.d /etc/containers/registries.d -registries.conf %[5]s`,
		image, pulls, policyjudge, policyFile, registriesConf))
	admitted := 0
	for dec := json.NewDecoder(bytes.NewReader([]byte(r.Stdout))); ; admitted++ {
		var answer struct {
			Allowed bool
			Error   string
		}
		if dec.Decode(&answer) != nil {
			break
		}
		if !answer.Allowed {
			t.Fatalf("pull %d: %s", admitted, answer.Error)
		}
	}
	if r.Status != 0 || admitted != pulls {
		t.Errorf("%d pulls, want %d: %s", admitted, pulls, r.Stderr)
	}
	s.registry.trouble(func(r *recorder) {
		if r.asked != 1 {
			t.Errorf("the registry was asked %d times for evidence, want once", r.asked)
		}
	})
}

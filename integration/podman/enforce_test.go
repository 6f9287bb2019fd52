package podman_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/podman/countersign"
)

// agent is Touchmark in force, on a host or for one of its users.
type agent struct {
	*lab.Process
	account lab.Account
	dir     string // with config.yaml
}

// enforce puts Touchmark in force on a host: what comes from the site's registry must be countersigned by its agent.
func (s *site) enforce(t testing.TB, h *lab.Host) *agent {
	t.Helper()
	address := lab.FreeAddress(t)
	a := &agent{account: h.Root(), dir: "/etc/touchmark"}
	text, err := os.ReadFile(s.policy)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(s.Root)
	if err != nil {
		t.Fatal(err)
	}
	h.Write(t, a.dir+"/policy.d/policy.yaml", string(text))
	h.Write(t, a.dir+"/trust/private.json", string(root))
	h.Write(t, a.dir+"/config.yaml", fmt.Sprintf("agent:\n  listen: %s\npodman:\n  scopes: [%q]\n", address, s.registry.Host))
	if err := os.Mkdir(h.Path(a.dir+"/podman"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := countersign.Config{Key: h.Path(a.dir + "/podman/countersign.key"), Public: h.Path(keyring)}
	if _, err := countersign.Generate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	h.Write(t, policyFile, fmt.Sprintf(`{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {%q: [
		{"type": "signedBy", "keyType": "GPGKeys", "keyPath": %q, "signedIdentity": {"type": "matchRepository"}}]}}}`, s.registry.Host, keyring))
	h.Write(t, lookasides, fmt.Sprintf("docker:\n  %s:\n    lookaside: http://%s/lookaside/%[1]s\n    lookaside-staging: file:///var/lib/touchmark-staging\n", s.registry.Host, address))
	h.Root().Must(t, 0, "install", "-d", "-m", "1777", "/var/lib/touchmark-staging")
	a.Process = a.account.Serve(t, "http://"+address+"/healthz", "agent", "--config", filepath.Join(a.dir, "config.yaml"))
	return a
}

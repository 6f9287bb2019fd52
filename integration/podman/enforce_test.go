package podman_test

import (
	"os"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// agent is Touchmark in force, on a host or for one of its users.
type agent struct {
	*lab.Process
	account lab.Account
	address string // HOST:PORT
}

// enforce installs Touchmark, by its command: for the host if the account is root, else for the user. What comes from the site's first registry must be
// countersigned by the agent, which is started.
func (s *site) enforce(t testing.TB, account lab.Account, flags ...string) *agent {
	t.Helper()
	a := &agent{account: account, address: lab.FreeAddress(t)}
	for file, from := range map[string]string{"policy.yaml": s.policy, "private.json": s.Root} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		account.Write(t, account.Home+"/"+file, string(text))
	}
	args := append([]string{lab.Program(), "install", "podman", "--yes", "--keep-default", "--listen", a.address,
		"--policy", account.Home + "/policy.yaml", "--trusted-root", "private=" + account.Home + "/private.json"}, flags...)
	account.Must(t, 0, append(args, a.whose()...)...)
	a.start(t)
	return a
}

// whose is the flag that tells users' agents from the host's.
func (a *agent) whose() []string {
	if a.account.UID == 0 {
		return nil
	}
	return []string{"--user"}
}

// start starts the agent, again if it was killed.
func (a *agent) start(t testing.TB) {
	t.Helper()
	a.Process = a.account.Serve(t, "http://"+a.address+"/healthz", append([]string{"agent"}, a.whose()...)...)
}

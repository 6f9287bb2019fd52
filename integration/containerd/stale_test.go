package containerd_test

import (
	"crypto"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/services/trustroot"
)

// A trust root that is followed by TUF, whose repository nobody renews, is good until its metadata ends, and no longer; then nothing is admitted, and nothing called unsigned
// (CTRD-05).
func TestCTRD05_StaleTrustRoot(t *testing.T) {
	t.Parallel()
	const life, left = 7 * 24 * time.Hour, 10 * time.Second // of the timestamp, see services/trustroot
	s := newSite(t)
	signed := s.push(t, "signed", alice)
	ends := time.Now().Add(left).Truncate(time.Second) // as TUF writes it
	repository, err := trustroot.CreateRepository(trustroot.RepositoryConfig{
		Dir: t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(t)}, Targets: coretest.NewKey(t), Online: coretest.NewKey(t)},
		Targets: map[string][]byte{trustroot.TrustedRootFile: []byte(read(t, s.Root))}, Clock: func() time.Time { return ends.Add(-life) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repository.Close() })
	server := httptest.NewServer(http.StripPrefix("/tuf", repository.Handler()))
	t.Cleanup(server.Close)
	h := newHost(t, s.policy, nil, "trust: {maxStale: 0d, tuf: [{name: private, mirror: \""+server.URL+"/tuf\", root: tuf-root.json}]}\ncontainerd: {standalone: false}")
	h.Write(t, "/etc/touchmark/tuf-root.json", string(repository.Root()))
	h.boot(t)
	h.admits(t, signed)
	var says string
	for deadline := ends.Add(time.Minute); says == ""; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an image is admitted by a trust root that has ended")
		}
		says = h.pull(t, "CRI", signed)
	}
	if time.Now().Before(ends) || !strings.Contains(says, "touchmark cannot decide: ") || !strings.Contains(says, `the trust root is out of date: what vouches for "private" ended for good at `) || strings.Contains(says, "is not signed") {
		t.Errorf("%s before its end: %s", time.Until(ends), says)
	}
}

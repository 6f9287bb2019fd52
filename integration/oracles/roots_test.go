package oracles

import (
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
)

// Trust roots are tampered with, too: a good bundle is accepted under a changed root only where sigstore-go accepts it under that root.
func TestLIB35_TamperedRoots(t *testing.T) {
	samples := own(t, coretest.New(t), [32]byte{1})[:3] // DSSE on both logs, keyless and keyed: the content is not what a root is about
	for _, s := range fixtures(t) {
		if our, err := ours(s); err == nil && our(s.bundle) == nil && s.key == nil {
			samples = append(samples, s)
			break
		}
	}
	donor := coretest.New(t).TrustedRootJSON(t)
	var copies, unreadable, both int
	for _, s := range samples {
		for _, m := range mutations(t, s.root, donor) {
			copies++
			changed := s
			changed.root = m.text
			our, err := ours(changed)
			if err != nil {
				unreadable++
				continue
			}
			if our(s.bundle) != nil {
				continue
			}
			their, err := theirs(changed)
			if err == nil {
				err = their(s.bundle)
			}
			if err != nil {
				t.Errorf("%s, root %s, %s: ours accepts, sigstore-go refuses: %v", s.name, m.path, m.what, err)
				continue
			}
			both++
		}
	}
	t.Logf("%d tampered roots: ours can't read %d, both accept %d bundles under the others", copies, unreadable, both)
	if copies < 1500 || both == 0 {
		t.Error("the test shows little")
	}
}

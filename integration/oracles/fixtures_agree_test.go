package oracles

import (
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
)

// Bundles that others made verify with ours exactly where sigstore-go accepts them: under the right root, and under no other.
func TestLIB35_FixturesAgree(t *testing.T) {
	var accepted, refused int
	for _, s := range fixtures(t) {
		t.Run(s.name, func(t *testing.T) {
			their, err := theirs(s)
			if err != nil {
				t.Fatal(err)
			}
			our, err := ours(s)
			if err != nil {
				t.Fatalf("ours refuses the trust root: %v", err)
			}
			theirErr, ourErr := their(s.bundle), our(s.bundle)
			if (theirErr == nil) != (ourErr == nil) {
				t.Errorf("verdicts differ:\nours        %v\nsigstore-go %v", ourErr, theirErr)
			}
			if ourErr == nil {
				accepted++
			} else {
				refused++
			}
		})
	}
	t.Logf("both accept %d and refuse %d", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Errorf("%d accepted, %d refused: the test shows nothing", accepted, refused)
	}
}

// The timestamps in these bundles were made by Sigstore's own authority. They verify under the trust root that names it, and no other.
func TestFixturesTimestamps(t *testing.T) {
	var good, bad int
	for _, s := range fixtures(t) {
		evidence, err := bundle.Parse(s.bundle)
		if err != nil {
			continue // some fixtures are malformed on purpose: TestLIB35_FixturesAgree judges them
		}
		root, err := trust.Parse("root", s.root)
		if err != nil {
			t.Fatal(err)
		}
		for _, response := range evidence.Timestamps {
			token, err := tsp.Parse(response)
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
				continue
			}
			for _, authority := range root.TimestampAuthorities {
				if token.Verify(evidence.Signature(), authority.Authority) == nil {
					good++
				} else {
					bad++
				}
				if token.Verify([]byte("another signature"), authority.Authority) == nil {
					t.Errorf("%s: timestamp verifies for another signature", s.name)
				}
			}
		}
	}
	t.Logf("%d timestamps verify, %d are another authority's", good, bad)
	if good == 0 || bad == 0 {
		t.Error("the test shows nothing")
	}
}

package publicgood

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

func TestRoot(t *testing.T) {
	root, err := Root(Name)
	if err != nil {
		t.Fatal(err)
	}
	if root.Name != Name || len(root.CertificateAuthorities) != 2 || len(root.Logs) != 2 || len(root.CTLogs) != 2 || len(root.TimestampAuthorities) != 1 {
		t.Errorf("%s: %d authorities, %d logs, %d certificate logs, %d timestamp authorities", root.Name, len(root.CertificateAuthorities),
			len(root.Logs), len(root.CTLogs), len(root.TimestampAuthorities))
	}
	if got, want := hex.EncodeToString(root.Digest[:]), "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66"; got != want {
		t.Errorf("digest %s, the comment says %s", got, want)
	}
}

func TestTUFRoot(t *testing.T) {
	set, err := trustedmetadata.New(TUFRoot())
	if err != nil {
		t.Fatal(err)
	}
	date, err := time.Parse(time.DateOnly, Date)
	if err != nil {
		t.Fatal(err)
	}
	if set.Root.Signed.Version != 16 || set.Root.Signed.IsExpired(date) {
		t.Errorf("version %d, expires %s", set.Root.Signed.Version, set.Root.Signed.Expires)
	}
}

package countersign_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/countersign"
)

func TestRotation(t *testing.T) {
	for _, form := range []countersign.Form{countersign.OpenPGP, countersign.Sigstore} {
		t.Run(string(form), func(t *testing.T) {
			c := newConfig(t, form)
			old := newKey(t, c)
			first, err := countersign.Fingerprints(c)
			if err != nil {
				t.Fatal(err)
			}
			if form == countersign.OpenPGP {
				place(t, c.Key+".next", 1)
			}
			if err := countersign.Rotate(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			both, err := countersign.Fingerprints(c)
			if err != nil {
				t.Fatal(err)
			}
			if len(both) != 2 || both[0] == first[0] || both[1] != first[0] {
				t.Fatalf("keys %v after rotation, before %v", both, first)
			}
			if was, is := old.Fingerprint(), open(t, c).Fingerprint(); was != first[0] || is != both[0] {
				t.Errorf("the keys' own fingerprints are %s and %s, want %s and %s", was, is, first[0], both[0])
			}
			if form == countersign.OpenPGP {
				for name, key := range map[string]*countersign.Key{"old": old, "new": open(t, c)} {
					blob, err := key.Countersign(repository, digest, start)
					if err != nil {
						t.Fatal(err)
					}
					if err := verifyAt(t, c, blob, repository, digest, start); err != nil {
						t.Errorf("%s key: %v", name, err)
					}
				}
			}
			if form == countersign.Sigstore { // whose keys are made faster
				for range 5 {
					if err := countersign.Rotate(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				}
				if kept, _ := countersign.Fingerprints(c); len(kept) != 4 {
					t.Errorf("%d keys are kept, want 4", len(kept))
				}
			}
			current := open(t, c)
			if err := countersign.Retire(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if kept, _ := countersign.Fingerprints(c); len(kept) != 1 {
				t.Errorf("%d keys are kept after retiring, want 1", len(kept))
			}
			if form != countersign.OpenPGP {
				return
			}
			for name, tt := range map[string]struct {
				key  *countersign.Key
				want bool
			}{"retired": {old, false}, "current": {current, true}} {
				blob, err := tt.key.Countersign(repository, digest, start)
				if err != nil {
					t.Fatal(err)
				}
				if err := verifyAt(t, c, blob, repository, digest, start); (err == nil) != tt.want {
					t.Errorf("%s key: %v", name, err)
				}
			}
		})
	}
}

func TestInterruptedRotation(t *testing.T) {
	c := newConfig(t, countersign.OpenPGP)
	newKey(t, c)
	place(t, c.Key+".next", 1)
	// Stopped after the new key was published, before it took its place.
	if err := countersign.Rotate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.Key, c.Key+".next"); err != nil {
		t.Fatal(err)
	}
	before, _ := countersign.Fingerprints(c)
	if err := countersign.Rotate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if after, _ := countersign.Fingerprints(c); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("repeated rotation left keys %v, want %v", after, before)
	}
	open(t, c)
}

func TestGenerateRepeats(t *testing.T) {
	c := newConfig(t, countersign.OpenPGP)
	made, err := countersign.Generate(t.Context(), c)
	if err != nil || !made.Key || !made.Public {
		t.Fatalf("%+v, %v", made, err)
	}
	public := read(t, c.Public)
	if made, err = countersign.Generate(t.Context(), c); err != nil || made.Key || made.Public {
		t.Errorf("the second time: %+v, %v", made, err)
	}
	// The keyring can be made again from the key, byte for byte.
	if err := os.Remove(c.Public); err != nil {
		t.Fatal(err)
	}
	if _, err := countersign.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), c.Public) {
		t.Errorf("opened without public half: %v", err)
	}
	if made, err = countersign.Generate(t.Context(), c); err != nil || made.Key || !made.Public {
		t.Errorf("without keyring: %+v, %v", made, err)
	}
	if !bytes.Equal(public, read(t, c.Public)) {
		t.Error("the keyring that was made again is another one")
	}
	for path, want := range map[string]os.FileMode{c.Key: 0o600, c.Public: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v: %v", path, info.Mode(), want, err)
		}
	}
}

func TestPOD08_KeyOfOthersIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, c countersign.Config) error
		want   string // in the error; empty: opened
	}{
		{"as it is", func(*testing.T, countersign.Config) error { return nil }, ""},
		{"readable by its group", func(_ *testing.T, c countersign.Config) error { return os.Chmod(c.Key, 0o640) }, "mode 0640"},
		{"readable by everybody", func(_ *testing.T, c countersign.Config) error { return os.Chmod(c.Key, 0o604) }, "mode 0604"},
		{"somebody else's", func(t *testing.T, c countersign.Config) error {
			if os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			return os.Chown(c.Key, 4711, -1)
		}, "belongs to the user with ID 4711"},
		{"symbolic link", func(_ *testing.T, c countersign.Config) error {
			if err := os.Rename(c.Key, c.Key+".real"); err != nil {
				return err
			}
			return os.Symlink(c.Key+".real", c.Key)
		}, "symbolic link"},
		{"another key", func(t *testing.T, c countersign.Config) error {
			other := newConfig(t, c.Form)
			place(t, other.Key, 1)
			newKey(t, other)
			return os.Rename(other.Key, c.Key)
		}, "does not hold the public half"},
		{"elliptic key", func(t *testing.T, c countersign.Config) error {
			other := newConfig(t, countersign.Sigstore)
			newKey(t, other)
			return os.Rename(other.Key, c.Key)
		}, "does not hold the public half"},
		{"empty keyring", func(_ *testing.T, c countersign.Config) error { return os.WriteFile(c.Public, nil, 0o644) }, "public"},
		{"private key in the keyring's place", func(t *testing.T, c countersign.Config) error {
			return os.WriteFile(c.Public, read(t, c.Key), 0o644)
		}, "public"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newConfig(t, countersign.OpenPGP)
			newKey(t, c)
			secret := read(t, c.Key)
			if err := tt.change(t, c); err != nil {
				t.Fatal(err)
			}
			_, err := countersign.Open(t.Context(), c)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), strings.Split(string(secret), "\n")[1]) {
				t.Error("the error shows the key")
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*countersign.Config){
		"form":              func(c *countersign.Config) { c.Form = "pgp" },
		"eleven minutes":    func(c *countersign.Config) { c.Validity = 11 * time.Minute },
		"a second":          func(c *countersign.Config) { c.Validity = time.Second },
		"no key":            func(c *countersign.Config) { c.Key = "" },
		"no public file":    func(c *countersign.Config) { c.Public = "" },
		"key in no service": func(c *countersign.Config) { c.Key = "awskms:///alias/host" },
	} {
		c := newConfig(t, countersign.OpenPGP)
		newKey(t, c)
		open(t, c)
		change(&c)
		if _, err := countersign.Open(context.Background(), c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

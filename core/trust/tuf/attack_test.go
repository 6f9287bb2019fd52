package tuf

import (
	"bytes"
	"crypto"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// TUF-02..04, TUF-07, A109, A112: a mirror that has, at most, the online keys takes nobody back, mixes nothing and changes nothing.
// The twin: what the repository publishes next is followed, so nothing of what was refused has stuck (A120).
func TestTUF02_TUF03_TUF04_TUF07_A109_A112_A120_Refused(t *testing.T) {
	for _, test := range []struct {
		name, words string
		attack      func(w *world)
	}{
		{"older timestamp", "must be >=", func(w *world) {
			w.version[metadata.TIMESTAMP] = 1
			w.publish()
		}},
		{"older snapshot", "snapshot version", func(w *world) {
			w.version[metadata.SNAPSHOT] = 0
			w.publish()
		}},
		{"older targets", "", func(w *world) {
			w.version[metadata.TARGETS] = 0
			w.publish()
		}},
		{"targets of another version", "", func(w *world) {
			w.editSnapshot = func(s *metadata.SnapshotType) {
				s.Meta["targets.json"].Version--
			}
			w.publish()
		}},
		{"other targets under the version", "", func(w *world) {
			w.publishNew("other")
			w.files["4.targets.json"] = append([]byte(" "), w.files["4.targets.json"]...)
		}},
		{"snapshot without targets", "", func(w *world) {
			w.editSnapshot = func(s *metadata.SnapshotType) { delete(s.Meta, "targets.json") }
			w.publish()
		}},
		{"other bytes", "hash", func(w *world) {
			w.publishNew("other")
			for name := range w.files {
				if strings.HasSuffix(name, trustedRootTarget) {
					w.files[name] = []byte("OTHER")
				}
			}
		}},
		{"more bytes", "length", func(w *world) {
			w.publishNew("other")
			for name := range w.files {
				if strings.HasSuffix(name, trustedRootTarget) {
					w.files[name] = append(w.files[name], ' ')
				}
			}
		}},
		{"no hash", "hash", func(w *world) {
			w.editTargets = func(t *metadata.TargetsType) { t.Targets[trustedRootTarget].Hashes = metadata.Hashes{} }
			w.publishNew("other")
		}},
		{"unknown hash alone", "hash", func(w *world) {
			w.editTargets = func(t *metadata.TargetsType) {
				t.Targets[trustedRootTarget].Hashes = metadata.Hashes{"crc32": []byte{1, 2, 3, 4}}
			}
			w.files["targets/01020304."+trustedRootTarget] = []byte("other")
			w.publishNew("other")
		}},
		{"huge target", "limit", func(w *world) {
			w.editTargets = func(t *metadata.TargetsType) { t.Targets[trustedRootTarget].Length = math.MaxInt64 - 1 }
			w.publishNew("other")
		}},
		{"no trusted root", "no trusted_root.json", func(w *world) {
			delete(w.content, trustedRootTarget)
			w.publish()
		}},
		{"timestamp by another key", "", func(w *world) {
			w.keys[metadata.TIMESTAMP] = []crypto.Signer{newKey()}
			w.publish()
		}},
		{"targets by the online key", "", func(w *world) {
			w.keys[metadata.TARGETS] = w.keys[metadata.TIMESTAMP]
			w.publish()
		}},
		{"a snapshot as timestamp", "", func(w *world) { w.files["timestamp.json"] = w.files["3.snapshot.json"] }},
		{"no JSON", "", func(w *world) { w.files["timestamp.json"] = []byte("<html>") }},
		{"nothing", "404", func(w *world) { delete(w.files, "timestamp.json") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.publishNew("second")
			w.publishNew("third")
			w.admits("third")
			keys := maps.Clone(w.keys)
			restore := w.keep()
			test.attack(w)
			w.refuses(test.name, test.words)
			w.keys = keys
			restore()
			// Parts of the attack may have been signed, and count as seen; what comes later is followed all the same.
			for role := range w.version {
				w.version[role] += 5
			}
			w.publishNew("fourth")
			w.admits("fourth")
		})
	}
}

// TUF-01, TUF-08, TUF-09, A117: roots follow each other one by one, signed by the one before and by themselves, and none that was
// seen is unseen.
func TestTUF01_TUF08_TUF09_A117_Roots(t *testing.T) {
	t.Run("hidden root", func(t *testing.T) {
		w := newWorld(t)
		stolen := w.keys[metadata.TIMESTAMP]
		w.nextRoot(func() { w.setKeys(metadata.TIMESTAMP, newKey()) })
		w.publishNew("second")
		if result := w.admits("second"); result.RootVersion != 2 {
			t.Errorf("root version %d", result.RootVersion)
		}
		delete(w.files, "2.root.json")
		w.admits("second")
		w.keys[metadata.TIMESTAMP] = stolen
		w.publishNew("mallory's")
		w.refuses("the revoked key", "")
		// Who never saw the second root cannot know better; that is what the carried root's age decides.
		w.client.CacheDir = t.TempDir()
		w.admits("mallory's")
	})
	t.Run("fast forward, then other keys", func(t *testing.T) {
		w := newWorld(t)
		w.admits("first root")
		w.version[metadata.TIMESTAMP], w.version[metadata.SNAPSHOT] = math.MaxInt32-1, math.MaxInt32-1
		w.publish()
		w.admits("first root")
		w.version[metadata.TIMESTAMP], w.version[metadata.SNAPSHOT] = 5, 5
		w.publishNew("second")
		w.refuses("lower versions by the same keys", "must be >=")
		w.nextRoot(func() { w.setKeys(metadata.TIMESTAMP, newKey()); w.setKeys(metadata.SNAPSHOT, newKey()) })
		w.publish()
		w.admits("second")
	})
	refused := map[string]func(w *world){
		"version 3 in 2.root.json": func(w *world) {
			w.nextRoot(func() { w.root.Signed.Version++ })
			w.files["2.root.json"] = w.files["3.root.json"]
		},
		"version 1 in 2.root.json": func(w *world) { w.files["2.root.json"] = w.files["1.root.json"] },
		"not signed by the one before": func(w *world) {
			w.setKeys(metadata.ROOT, newKey())
			w.root.Signed.Version++
			w.publishRoot()
		},
		"not signed by itself": func(w *world) {
			before := w.keys[metadata.ROOT]
			w.setKeys(metadata.ROOT, newKey())
			w.root.Signed.Version++
			w.root.ClearSignatures()
			w.files["2.root.json"] = w.sign(w.root, before...)
		},
		"no JSON":                   func(w *world) { w.files["2.root.json"] = []byte("{}") },
		"an answer other than 404":  func(w *world) { w.serve = status("2.root.json", http.StatusForbidden) },
		"an answer 200 and nothing": func(w *world) { w.files["2.root.json"] = nil },
	}
	for name, attack := range refused {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.admits("first root")
			restore := w.keep()
			attack(w)
			w.refuses(name, "")
			restore()
			w.admits("first root")
		})
	}
	t.Run("many roots", func(t *testing.T) {
		w := newWorld(t)
		for range 300 {
			w.nextRoot(func() {})
		}
		first := w.admits("first root").RootVersion
		if first > 260 {
			t.Errorf("%d roots were followed at once", first)
		}
		if second := w.admits("first root").RootVersion; second <= first {
			t.Errorf("the second time %d, after %d", second, first)
		}
	})
}

func status(file string, code int) func(*http.Request) (*http.Response, error) {
	return func(request *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(request.URL.Path, file) {
			return nil, nil
		}
		return answer(request, code, strings.NewReader("")), nil
	}
}

// TUF-10, A111, A115: what a root that was given may not say. Its signatures are good.
func TestTUF10_A111_A115_GivenRoot(t *testing.T) {
	edit := func(w *world, change func(signed map[string]any)) []byte {
		var decoded map[string]any
		must(0, json.Unmarshal(w.files["1.root.json"], &decoded))
		change(decoded["signed"].(map[string]any))
		return must(json.Marshal(decoded))
	}
	threshold := func(value any) func(*world) []byte {
		return func(w *world) []byte {
			return edit(w, func(signed map[string]any) {
				for _, role := range signed["roles"].(map[string]any) {
					role.(map[string]any)["threshold"] = value
				}
			})
		}
	}
	for name, root := range map[string]func(*world) []byte{
		"threshold 0": threshold(0), "threshold -1": threshold(-1), "threshold 1.5": threshold(1.5), "threshold as text": threshold("1"), "threshold 2^31": threshold(1 << 31),
		"one key twice": func(w *world) []byte {
			// The same public key under the type's other name has another identifier.
			key := must(metadata.KeyFromPublicKey(w.keys[metadata.ROOT][0].Public()))
			key.Type = metadata.KeyTypeECDSA_SHA2_P256_COMPAT
			must(0, w.root.Signed.AddKey(key, metadata.ROOT))
			w.root.Signed.Roles[metadata.ROOT].Threshold = 2
			w.publishRoot()
			twin := w.root.Signatures[0]
			twin.KeyID = must(key.ID())
			w.root.Signatures = append(w.root.Signatures, twin)
			return must(w.root.ToBytes(false))
		},
		"one signature twice": func(w *world) []byte {
			w.setKeys(metadata.ROOT, w.keys[metadata.ROOT][0], newKey())
			w.root.Signed.Roles[metadata.ROOT].Threshold = 2
			w.root.ClearSignatures()
			w.sign(w.root, w.keys[metadata.ROOT][0])
			w.root.Signatures = append(w.root.Signatures, w.root.Signatures[0])
			return must(w.root.ToBytes(false))
		},
		"unknown key type": func(w *world) []byte {
			for _, key := range w.root.Signed.Keys {
				key.Type = "rot13"
			}
			w.publishRoot()
			return w.files["1.root.json"]
		},
		"targets.json":  func(w *world) []byte { return w.files["1.targets.json"] },
		"nothing":       func(*world) []byte { return nil },
		"a changed end": func(w *world) []byte { return bytes.Replace(w.files["1.root.json"], []byte("2027"), []byte("2037"), 1) },
	} {
		w := newWorld(t)
		w.client.Root = root(w)
		w.refuses(name, "")
		if _, err := w.client.Offline(); err == nil {
			t.Errorf("%s: accepted offline", name)
		}
	}
	// The twin: two keys, both sign.
	w := newWorld(t)
	w.setKeys(metadata.ROOT, newKey(), newKey())
	w.root.Signed.Roles[metadata.ROOT].Threshold = 2
	w.publishRoot()
	w.client.Root = w.files["1.root.json"]
	w.admits("first root")
}

package trustroot

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A128: a client that allows no expired metadata follows a running stack for thirty days. The keys of root and targets are elsewhere.
func TestA128_ThirtyDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRepositoryWorld(t, func(c *RepositoryConfig) { c.Clock = time.Now })
		w.config.Keys = RepositoryKeys{Online: w.config.Keys.Online}
		w.reopen()
		ctx, cancel := context.WithCancel(t.Context())
		go w.Run(ctx)
		begin, versions := time.Now(), int64(0)
		for time.Since(begin) < 30*day {
			result := w.follows("first root")
			if left := time.Until(result.Expires); left < 5*day {
				t.Fatalf("after %v the metadata is good for %v only", time.Since(begin), left)
			}
			versions = result.TimestampVersion
			time.Sleep(5 * time.Hour)
		}
		if versions < 28 || versions > 32 {
			t.Errorf("%d timestamps in 30 days", versions)
		}
		if err := w.Healthy(); err != nil {
			t.Error(err)
		}
		cancel()
		synctest.Wait()
	})
}

// Root and targets are renewed after half of their life if their keys are at hand; a client that was away follows.
func TestRenewsWithKeys(t *testing.T) {
	w := newRepositoryWorld(t, func(c *RepositoryConfig) {
		c.Keys.Root, c.Keys.RootThreshold = []crypto.Signer{newKey(), newKey(), newKey()}, 2
	})
	w.config.Keys.Root = w.config.Keys.Root[1:]
	for _, want := range []int64{1, 1, 2, 2, 3, 3} {
		w.reopen()
		must(0, w.Renew())
		if got := w.follows("first root").RootVersion; got != want {
			t.Errorf("after %v root version %d, want %d", w.now, got, want)
		}
		w.now = w.now.Add(91*day + time.Hour)
	}
	if strings.Contains(w.log.String(), "running out") {
		t.Error("warned, though the keys are at hand")
	}
}

// A128, TUF-19: with a key missing, the log warns at 50, 75, 90 and 100 percent, once each; clients follow as long as they can.
func TestA128_TUF19_Warns(t *testing.T) {
	w := newRepositoryWorld(t, func(c *RepositoryConfig) {
		c.Keys.Root, c.Keys.RootThreshold = []crypto.Signer{newKey(), newKey()}, 2
	})
	w.config.Keys.Root, w.config.Keys.Targets = w.config.Keys.Root[:1], nil // one of two is not enough
	w.reopen()
	percents := regexp.MustCompile(`level=(\w+) .*running out.*role=(\w+) percent=(\d+)`)
	var got []string
	for days := range 370 {
		w.now = w.now.Add(day)
		must(0, w.Renew())
		must(0, w.Renew())
		for _, match := range percents.FindAllStringSubmatch(w.log.String(), -1) {
			got = append(got, strings.Join(match[1:], " "))
		}
		w.log.Reset()
		if days == 363 {
			w.follows("first root")
		}
	}
	want := "WARN root 50,WARN targets 50,WARN root 75,WARN targets 75,ERROR root 90,ERROR targets 90,ERROR root 100,ERROR targets 100"
	if strings.Join(got, ",") != want {
		t.Errorf("warnings %v", got)
	}
	if _, err := w.client.Refresh(context.Background()); err == nil {
		t.Error("an expired root was accepted")
	}
	// The keys are put back.
	w.config.Keys = RepositoryKeys{Root: w.config.Keys.Root, Online: w.config.Keys.Online}
	w.reopen()
	if !strings.Contains(w.log.String(), "running out") {
		t.Error("a start did not warn")
	}
}

// What changes between two starts is published, if the targets key is there. If not, the log says so, and clients keep what they had.
func TestPublishesChanges(t *testing.T) {
	w := newRepositoryWorld(t)
	w.follows("first root")
	w.config.Targets = map[string][]byte{TrustedRootFile: []byte("second root"), SigningConfigFile: []byte("first config"), "more.json": []byte("{}")}
	keys := w.config.Keys
	w.config.Keys = RepositoryKeys{Online: keys.Online}
	w.log.Reset()
	w.reopen()
	w.follows("first root")
	if log := w.log.String(); !strings.Contains(log, "targets key is missing") || !strings.Contains(log, "more.json trusted_root.json") || strings.Contains(log, SigningConfigFile+" ") {
		t.Errorf("log: %s", log)
	}
	w.config.Keys = keys
	w.reopen()
	w.follows("second root")
	if got := len(w.current.Targets[metadata.TARGETS].Signed.Targets); got != 3 {
		t.Errorf("%d targets", got)
	}
	// The same again is no change.
	before := w.current.Timestamp.Signed.Version
	w.reopen()
	if w.current.Timestamp.Signed.Version != before {
		t.Error("a start without a change published something")
	}
	delete(w.config.Targets, SigningConfigFile)
	w.reopen()
	if result := w.follows("second root"); result.SigningConfig != nil {
		t.Error("the signing config is still there")
	}
}

// What clients of all kinds need to find in the metadata.
func TestMetadataForm(t *testing.T) {
	w := newRepositoryWorld(t)
	for _, name := range []string{"1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"} {
		var m struct {
			Signed struct {
				SpecVersion        string `json:"spec_version"`
				ConsistentSnapshot *bool  `json:"consistent_snapshot"`
				Expires            string
				Keys               map[string]struct{ Keytype, Scheme string }
				Targets            map[string]struct{ Hashes map[string]string }
			}
		}
		must(0, json.Unmarshal(must(w.read(name)), &m))
		if !strings.HasPrefix(m.Signed.SpecVersion, "1.0.") || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`).MatchString(m.Signed.Expires) {
			t.Errorf("%s: %+v", name, m)
		}
		if name == "1.root.json" && (m.Signed.ConsistentSnapshot == nil || !*m.Signed.ConsistentSnapshot || len(m.Signed.Keys) != 3) {
			t.Errorf("%s: %+v", name, m)
		}
		for _, key := range m.Signed.Keys {
			if key.Keytype != "ecdsa" || key.Scheme != "ecdsa-sha2-nistp256" {
				t.Errorf("%s: %+v", name, key)
			}
		}
		for target, info := range m.Signed.Targets {
			if len(info.Hashes) != 1 || len(info.Hashes["sha256"]) != 64 {
				t.Errorf("%s: %v", target, info.Hashes)
			}
		}
	}
}

// A repository that lost something, or was given another's keys, does not open, and says what is wrong.
func TestRefusesDamage(t *testing.T) {
	w := newRepositoryWorld(t)
	must(0, w.Close())
	refuses := func(name, words string) {
		t.Helper()
		if r, err := OpenRepository(w.config); err == nil {
			t.Errorf("%s: opened", name)
			_ = r.Close()
		} else if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", name, err, words)
		}
	}
	files := append(must(filepath.Glob(filepath.Join(w.config.Dir, "*.json"))), must(filepath.Glob(filepath.Join(w.config.Dir, "targets", "*")))...)
	if len(files) != 6 {
		t.Fatalf("files %v", files)
	}
	for _, path := range files {
		content := must(os.ReadFile(path))
		word := strings.TrimSuffix(filepath.Base(path), ".json")
		word = word[strings.LastIndex(word, ".")+1:]
		must(0, os.Remove(path))
		refuses("without "+path, word)
		must(0, os.Mkdir(path, 0o700))
		refuses("directory "+path, word)
		must(0, os.Remove(path))
		edited := append([]byte(nil), content...)
		edited[len(edited)/2] ^= 1
		must(0, os.WriteFile(path, edited, 0o600))
		refuses("edited "+path, "")
		must(0, os.WriteFile(path, content, 0o600))
	}
	keys := w.config.Keys
	w.config.Keys.Online = newKey()
	refuses("another online key", "key is not the one that 1.root.json names")
	w.config.Keys.Online = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	refuses("an online key on P-384", "P-256")
	w.config.Keys = keys
	w.config.Keys.Targets = keys.Online
	refuses("the online key as targets key", "targets key is not the one")
	w.config.Keys = keys
	w.config.Keys.Root = []crypto.Signer{newKey()} // counts for nothing
	w.reopen()
	w.follows("first root")
}

func TestCreateRefuses(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(0, err)
	good := newRepositoryWorld(t).config
	for name, change := range map[string]func(*RepositoryConfig){
		"no directory":          func(c *RepositoryConfig) { c.Dir = "" },
		"directory not there":   func(c *RepositoryConfig) { c.Dir += "/none" },
		"no online key":         func(c *RepositoryConfig) { c.Keys.Online = nil },
		"no targets key":        func(c *RepositoryConfig) { c.Keys.Targets = nil },
		"no root key":           func(c *RepositoryConfig) { c.Keys.Root = nil },
		"threshold 2 of 1":      func(c *RepositoryConfig) { c.Keys.RootThreshold = 2 },
		"threshold 2, one key":  func(c *RepositoryConfig) { c.Keys.Root, c.Keys.RootThreshold = append(c.Keys.Root, c.Keys.Root...), 2 },
		"Ed25519":               func(c *RepositoryConfig) { c.Keys.Root = []crypto.Signer{ed} },
		"no targets":            func(c *RepositoryConfig) { c.Targets = nil },
		"target with a path":    func(c *RepositoryConfig) { c.Targets = map[string][]byte{"../x": nil} },
		"target that is hidden": func(c *RepositoryConfig) { c.Targets = map[string][]byte{".x": nil} },
	} {
		config := good
		config.Dir = t.TempDir()
		config.Keys.Root = append([]crypto.Signer(nil), config.Keys.Root...)
		change(&config)
		if r, err := CreateRepository(config); err == nil {
			t.Errorf("%s: made", name)
			_ = r.Close()
		}
	}
}

func TestMirror(t *testing.T) {
	w := newRepositoryWorld(t)
	must(0, os.WriteFile(filepath.Join(w.config.Dir, "secret"), nil, 0o600))
	must(0, os.WriteFile(filepath.Join(w.config.Dir, "01.root.json"), nil, 0o600))
	must(0, os.WriteFile(filepath.Join(w.config.Dir, "root.json"), nil, 0o600))
	var target string
	for _, path := range must(filepath.Glob(filepath.Join(w.config.Dir, "targets", "*"+TrustedRootFile))) {
		target = "/targets/" + filepath.Base(path)
	}
	for _, test := range []struct {
		method, path string
		status       int
		cached       bool
	}{
		{"GET", "/timestamp.json", 200, false},
		{"HEAD", "/timestamp.json", 200, false},
		{"GET", "/1.root.json", 200, true},
		{"GET", "/1.snapshot.json", 200, true},
		{"HEAD", "/1.targets.json", 200, true},
		{"GET", target, 200, true},
		{"GET", "/2.root.json", 404, false},
		{"HEAD", "/2.root.json", 404, false},
		{"GET", "/999999999999999999999.root.json", 404, false},
		{"POST", "/timestamp.json", 405, false},
		{"PUT", "/2.root.json", 405, false},
		{"GET", "/01.root.json", 404, false},
		{"GET", "/+1.root.json", 404, false},
		{"GET", "/0.root.json", 404, false},
		{"GET", "/root.json", 404, false},
		{"GET", "/1.timestamp.json", 404, false},
		{"GET", "/1.root.json/", 404, false},
		{"GET", "/1.root", 404, false},
		{"GET", "/secret", 404, false},
		{"GET", "/", 404, false},
		{"GET", "/targets", 404, false},
		{"GET", "/targets/", 404, false},
		{"GET", "/targets/" + TrustedRootFile, 404, false},
		{"GET", strings.ToUpper(target), 404, false},
		{"GET", "/targets/../timestamp.json", 404, false},
		{"GET", "/../" + filepath.Base(w.config.Dir) + "/timestamp.json", 404, false},
	} {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequest(test.method, "http://sigstore.acme.example/", nil)
		request.URL.Path = test.path
		w.Handler().ServeHTTP(recorder, request)
		cached := strings.Contains(recorder.Header().Get("Cache-Control"), "immutable")
		if recorder.Code != test.status || cached != test.cached || recorder.Header().Get("Cache-Control") == "" {
			t.Errorf("%s %s: status %d, want %d; %v", test.method, test.path, recorder.Code, test.status, recorder.Header())
		}
		if test.status == http.StatusOK && (recorder.Header().Get("Content-Type") != "application/json" || recorder.Header().Get("Content-Length") == "") {
			t.Errorf("%s %s: %v", test.method, test.path, recorder.Header())
		}
	}
}

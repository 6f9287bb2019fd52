package doctor_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/doctor"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
)

// TestPOD01_UsersOwnPolicies: a user's policy.json counts in the place of the system's. That it demands some signature does not make it one that
// asks Touchmark; only that user's own installation does.
func TestPOD01_UsersOwnPolicies(t *testing.T) {
	const public = "/root/.config/touchmark/podman/countersign.gpg"
	signedBy := func(keys string) string {
		return `[{"type":"signedBy","keyType":"GPGKeys",` + keys + `,"signedIdentity":{"type":"matchRepository"}}]`
	}
	reject, accept := `[{"type":"reject"}]`, `[{"type":"insecureAcceptAnything"}]`
	policy := func(standard, docker, others string) string {
		return fmt.Sprintf(`{"default":%s,"transports":{"docker":{"registry.example":%s}%s}}`, standard, docker, others)
	}
	keys := map[string]string{"/etc/touchmark/podman/countersign.gpg": "", public: "", "/root/mine.gpg": ""}
	for file := range keys {
		dir := t.TempDir()
		c := countersign.Config{Form: countersign.OpenPGP, Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "public")}
		if _, err := countersign.Generate(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(c.Public)
		if err != nil {
			t.Fatal(err)
		}
		keys[file] = string(text)
	}
	inline := signedBy(`"keyData":"` + base64.StdEncoding.EncodeToString([]byte(keys["/root/mine.gpg"])) + `"`)
	own := signedBy(`"keyPath":"` + public + `"`)
	for name, tt := range map[string]struct {
		policy, says string // "": nothing gets in
	}{
		"refuses everything":               {policy(reject, reject, ""), ""},
		"the user's own agent":             {policy(reject, own, ""), ""},
		"the host's own key":               {policy(reject, signedBy(`"keyPath":"/etc/touchmark/podman/countersign.gpg"`), ""), ""},
		"the host's key, and another":      {policy(reject, signedBy(`"keyPaths":["/etc/touchmark/podman/countersign.gpg","/root/mine.gpg"]`), ""), "not the agent's"},
		"accepts":                          {policy(reject, accept, ""), "accepts registry.example"},
		"somebody else's key":              {policy(reject, signedBy(`"keyPath":"/root/mine.gpg"`), ""), "not this host's"},
		"and a second key":                 {policy(reject, signedBy(`"keyPaths":["`+public+`","/root/mine.gpg"]`), ""), "not this host's"},
		"a key in it":                      {policy(reject, inline, ""), "not this host's"},
		"archives":                         {policy(reject, own, `,"docker-archive":{"":`+accept+`}`), "docker-archive"},
		"everything but docker":            {fmt.Sprintf(`{"default":%s,"transports":{"docker":{"":%s,"registry.example":%s}}}`, accept, reject, own), "unjudged"},
		"storage, where all was judged":    {policy(reject, own, `,"containers-storage":{"":`+accept+`}`), ""},
		"somebody else's key, one image":   {fmt.Sprintf(`{"default":%s,"transports":{"docker":{"registry.example":%s,"registry.example/app":%s}}}`, reject, own, signedBy(`"keyPath":"/root/mine.gpg"`)), "not this host's"},
		"an undeclared registry, accepted": {fmt.Sprintf(`{"default":%s,"transports":{"docker":{"registry.example":%s,"other.example":%s}}}`, reject, own, accept), "other.example"},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(keys)
			files["/etc/containers/policy.json"], files["/usr/bin/podman"] = `{"default":`+reject+`}`, "\x7fELF"
			files["/root/.config/containers/policy.json"] = tt.policy
			h := host(t, files)
			r := examine(t, podmandoctor.Config{Host: h, Intent: podmandoctor.Intent{Scopes: []string{"registry.example"}, Public: "/etc/touchmark/podman/countersign.gpg"}, Now: time.Now()})
			said := fmt.Sprint(r.Findings)
			if open := r.Has("user-policy"); open != (tt.says != "") || !strings.Contains(said, tt.says) || (r.Enforcing == doctor.No) != open {
				t.Errorf("want %q; enforcing %s: %s", tt.says, r.Enforcing, said)
			}
		})
	}
}

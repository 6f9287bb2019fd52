package doctor

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/BurntSushi/toml"
)

// checkRemote finds a podman that sends its commands elsewhere.
func checkRemote(_ context.Context, s *snapshot) {
	var files []string
	for _, main := range s.Host.ContainersConf() {
		files = append(files, main)
		files = append(files, s.List(main+".d", ".conf")...)
	}
	for _, file := range files {
		var conf struct {
			Engine struct {
				Remote        bool   `toml:"remote"`
				ActiveService string `toml:"active_service"`
			} `toml:"engine"`
		}
		if s.decode(file, &conf) && (conf.Engine.Remote || conf.Engine.ActiveService != "") {
			s.Find("remote-service", file, "podman works through a service: that one's configuration counts, if it is on another host or machine")
		}
	}
}

// decode reads a TOML file; false if there is none, or it is none, which is a
// finding.
func (s *snapshot) decode(file string, into any) bool {
	data, ok := s.Read(file)
	if !ok {
		return false
	}
	if _, err := toml.Decode(string(data), into); err != nil {
		s.Unreadable(file, err)
		return false
	}
	return true
}

// crioPolicies is where CRI-O looks for namespaces' policies by default.
const crioPolicies = "/etc/crio/policies"

func checkCRIO(_ context.Context, s *snapshot) {
	if s.Host.User() {
		return
	}
	policies, from := crioPolicies, ""
	for _, file := range append([]string{s.At("/etc/crio/crio.conf")}, s.List(s.At("/etc/crio/crio.conf.d"), ".conf")...) {
		var conf struct {
			CRIO struct {
				Image struct {
					Policy *string `toml:"signature_policy"`
					Dir    *string `toml:"signature_policy_dir"`
				} `toml:"image"`
			} `toml:"crio"`
		}
		if !s.decode(file, &conf) {
			continue
		}
		if p := conf.CRIO.Image.Policy; p != nil && *p != "" && !slices.Contains(s.Host.PolicyJSONs(), s.At(*p)) {
			s.checkOther("crio-policy", file+": signature_policy", "names "+*p, *p)
		}
		if d := conf.CRIO.Image.Dir; d != nil && *d != "" {
			policies, from = *d, file
		}
	}
	for _, file := range s.List(s.At(policies), ".json") {
		if why, open := s.opens(s.Name(file)); open {
			s.Find("crio-namespace-policy", file, "is the policy.json of the namespace %s, %s%s", namespaceOf(file), why, of(from))
		}
	}
}

func namespaceOf(file string) string {
	name := filepath.Base(file)
	return name[:len(name)-len(".json")]
}

func of(file string) string {
	if file == "" {
		return ""
	}
	return " (signature_policy_dir of " + filepath.Base(file) + ")"
}

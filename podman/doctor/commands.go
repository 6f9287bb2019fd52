package doctor

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/doctor"
)

// source is a kind of file that people write commands into.
type source struct {
	code       string
	extensions []string // none: all files
	files      []string
	dirs       []string // looked through, with the directories in them
}

// sources are where commands stand that pull images by themselves, or in the
// place of what a user types.
func (s *snapshot) sources() []source {
	shell := source{code: "shell-bypass", files: []string{"/etc/profile", "/etc/bash.bashrc", "/etc/bashrc", "/etc/zshrc", "/etc/zsh/zshrc", "/etc/environment"}, dirs: []string{"/etc/profile.d", "/etc/fish/conf.d", "/etc/environment.d"}}
	units := source{code: "unit-bypass", extensions: []string{".service", ".conf"}, dirs: []string{"/etc/systemd", "/run/systemd/system", "/usr/lib/systemd/system", "/usr/lib/systemd/user", "/usr/local/lib/systemd"}}
	quadlets := source{code: "quadlet-bypass", extensions: []string{".container", ".image", ".build", ".kube", ".pod", ".conf"}, dirs: []string{"/etc/containers/systemd", "/run/containers/systemd", "/usr/share/containers/systemd"}}
	cron := source{code: "cron-bypass", files: []string{"/etc/crontab"}, dirs: []string{"/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/var/spool/cron"}}
	for _, a := range s.accounts {
		for _, f := range []string{".profile", ".bash_profile", ".bashrc", ".bash_aliases", ".zshrc", ".zshenv", ".config/fish/config.fish"} {
			shell.files = append(shell.files, filepath.Join(a.home, f))
		}
		shell.dirs = append(shell.dirs, filepath.Join(a.home, ".config/environment.d"))
		units.dirs = append(units.dirs, filepath.Join(a.home, ".config/systemd/user"))
		quadlets.dirs = append(quadlets.dirs, filepath.Join(a.home, ".config/containers/systemd"))
	}
	return []source{shell, units, quadlets, cron}
}

func checkCommands(_ context.Context, s *snapshot) {
	for _, src := range s.sources() {
		for _, file := range src.files {
			s.checkText(src.code, s.At(file))
		}
		for _, dir := range src.dirs {
			s.checkTexts(src, s.At(dir), 0)
		}
	}
	s.checkWrappers()
}

// checkTexts looks through a directory, and through those in it.
func (s *snapshot) checkTexts(src source, dir string, depth int) {
	for _, entry := range s.ListDir(dir) {
		if len(s.ListDir(entry)) > 0 {
			if depth < doctor.MaxDepth {
				s.checkTexts(src, entry, depth+1)
			}
			continue
		}
		if len(src.extensions) == 0 || doctor.HasExtension(entry, src.extensions) {
			s.checkText(src.code, entry)
		}
	}
}

// checkWrappers looks at scripts that stand where a client is expected.
func (s *snapshot) checkWrappers() {
	dirs := slices.Clone(programDirs)
	for _, a := range s.accounts {
		dirs = append(dirs, filepath.Join(a.home, "bin"), filepath.Join(a.home, ".local/bin"))
	}
	for _, dir := range dirs {
		for _, name := range append(slices.Clone(clientNames), "docker") {
			path := s.At(filepath.Join(dir, name))
			if start := s.Head(path); bytes.HasPrefix(start, []byte("#!")) {
				s.checkText("wrapper-bypass", path)
			}
		}
	}
}

// bypass are the flags and variables that give a client another policy.json,
// or none, or another registries.conf.
var (
	withoutPolicy   = regexp.MustCompile(`(?:^|[\s"'=])--insecure-policy(?:=true)?(?:["'\s;&|)]|$)`)
	anotherPolicy   = regexp.MustCompile(`(?:^|[\s"'=])--(?:signature-)?policy(?:\s+|=)["']?([^\s"';&|)]+)`)
	policyVariable  = regexp.MustCompile(`\bCONTAINERS_POLICY_JSON=["']?([^\s"';&|)]+)`)
	registriesInEnv = regexp.MustCompile(`\b(?:CONTAINERS_REGISTRIES_CONF|REGISTRIES_CONFIG_PATH)=["']?([^\s"';&|)]+)`)
	aClient         = regexp.MustCompile(`\b(?:podman|skopeo|buildah|crio|docker)\b`)
	quadletArgs     = regexp.MustCompile(`^\s*(?:PodmanArgs|GlobalArgs)\s*=`)
)

// checkText looks at one file's lines.
func (s *snapshot) checkText(code, path string) {
	if !s.Exists(path) || len(s.ListDir(path)) > 0 {
		return
	}
	data, ok := s.Read(path)
	if !ok || bytes.IndexByte(data, 0) >= 0 { // a program
		return
	}
	number, line := 0, ""
	for _, part := range strings.Split(string(data), "\n") {
		number++
		part = strings.TrimSpace(part)
		if strings.HasPrefix(part, "#") || strings.HasPrefix(part, ";") {
			continue
		}
		line += part
		if rest, ok := strings.CutSuffix(line, `\`); ok {
			line = rest + " "
			continue
		}
		s.checkLine(code, fmt.Sprintf("%s:%d", path, number), line)
		line = ""
	}
}

func (s *snapshot) checkLine(code, where, line string) {
	if aClient.MatchString(line) || quadletArgs.MatchString(line) {
		if withoutPolicy.MatchString(line) {
			s.Find(code, where, "--insecure-policy: no policy.json is read")
		}
		for _, m := range anotherPolicy.FindAllStringSubmatch(line, -1) {
			s.checkOther(code, where, "the flag names "+m[1], m[1])
		}
	}
	for _, m := range policyVariable.FindAllStringSubmatch(line, -1) {
		s.checkOther("environment-policy", where, "CONTAINERS_POLICY_JSON names "+m[1], m[1])
	}
	for _, m := range registriesInEnv.FindAllStringSubmatch(line, -1) {
		s.checkOtherRegistries(where, m[1])
	}
}

// checkOther adds a finding if another policy.json accepts what is to be
// enforced, or can't be looked at.
func (s *snapshot) checkOther(code, where, what, path string) {
	if why, open := s.opens(path); open {
		s.Find(code, where, "%s, %s", what, why)
	}
}

// checkOtherRegistries adds a finding if the environment names another
// registries.conf and images are to come through the proxy.
func (s *snapshot) checkOtherRegistries(where, path string) {
	for _, scope := range s.Intent.Scopes {
		if s.leftToProxy(scope) && !slices.Contains(s.Host.RegistriesConfs(), s.At(path)) {
			s.Find("environment-registries", where, "names %s, and the proxy stands in %s", path, s.Name(s.Host.RegistriesConf()))
			return
		}
	}
}

func checkEnvironment(_ context.Context, s *snapshot) {
	for _, variable := range s.Environment {
		name, value, _ := strings.Cut(variable, "=")
		where := "environment: " + name
		switch name {
		case "CONTAINERS_POLICY_JSON":
			if value != "" {
				s.checkOther("environment-policy", where, "names "+value, value)
			}
		case "CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH":
			if value != "" {
				s.checkOtherRegistries(where, value)
			}
		case "CONTAINER_HOST":
			if value != "" {
				s.Find("remote-service", where, "podman --remote talks to another service")
			}
		}
	}
}

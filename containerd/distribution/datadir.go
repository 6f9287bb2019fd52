package distribution

import (
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/commandline"
	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxSettings bounds a unit, an environment or a config.yaml of k3s or RKE2, in
	// bytes; they have a few dozen lines.
	maxSettings = 256 << 10
	// maxDropIns bounds the files that are read of one directory of drop-ins.
	maxDropIns = 64
)

// dataDir is where k3s or RKE2 keeps what it has: the flag --data-dir, or else
// config.yaml with its drop-ins, of which the last counts, or else the variable
// K3S_DATA_DIR or RKE2_DATA_DIR, as package configfilearg of k3s and its flags have it.
func dataDir(h containerd.Host, name Name) string {
	service := unitWords(h, unit(h, name))
	prefix := strings.ToUpper(string(name)) + "_"
	dir := commandline.Flag(service, "data-dir", "d")
	if dir == "" {
		file := commandline.Flag(service, "config", "c")
		if file == "" {
			file = commandline.Variable(service, prefix+"CONFIG_FILE")
		}
		if file == "" {
			file = filepath.Join("/etc/rancher", string(name), "config.yaml")
		}
		dir = configured(h, file)
	}
	if dir == "" {
		dir = commandline.Variable(service, prefix+"DATA_DIR")
	}
	if !filepath.IsAbs(dir) {
		return defaultDataDir(name)
	}
	return filepath.Clean(dir)
}

func defaultDataDir(name Name) string { return filepath.Join("/var/lib/rancher", string(name)) }

// configured is data-dir of a config.yaml and the files in its drop-in directory.
func configured(h containerd.Host, file string) (dir string) {
	for _, f := range append([]string{file}, list(h, file+".d", ".yaml", ".yml")...) {
		data, err := configfile.Read(h.Path(f), maxSettings)
		var settings map[string]any
		if err != nil || yaml.Unmarshal(data, &settings) != nil {
			continue // k3s does not start with it
		}
		for _, key := range []string{"data-dir", "d"} {
			if value, ok := settings[key].(string); ok && value != "" {
				dir = value
			}
		}
	}
	return dir
}

// unitWords are the words of a systemd unit, its drop-ins, and the files with its
// environment where the installers of k3s and RKE2 put them.
func unitWords(h containerd.Host, unit string) (words []string) {
	bare := strings.TrimSuffix(unit, ".service")
	var files []string
	for _, dir := range []string{"/usr/lib/systemd/system", "/lib/systemd/system", "/usr/local/lib/systemd/system", "/etc/systemd/system"} {
		files = append(files, filepath.Join(dir, unit))
		files = append(files, list(h, filepath.Join(dir, unit+".d"), ".conf")...)
		files = append(files, filepath.Join(dir, unit+".env"), filepath.Join(dir, bare+".env"))
	}
	files = append(files, filepath.Join("/etc/default", bare), filepath.Join("/etc/sysconfig", bare))
	for _, f := range files {
		if data, err := configfile.Read(h.Path(f), maxSettings); err == nil {
			words = append(words, commandline.Words(string(data))...)
		}
	}
	return words
}

// list are the files of a directory that end so, sorted; at most [maxDropIns].
func list(h containerd.Host, dir string, extensions ...string) (files []string) {
	found, err := filepath.Glob(filepath.Join(h.Path(dir), "*"))
	if err != nil {
		return nil // a directory's name with a bracket
	}
	for _, f := range found {
		if slices.Contains(extensions, filepath.Ext(f)) {
			files = append(files, h.Within(f))
		}
	}
	return files[:min(len(files), maxDropIns)]
}

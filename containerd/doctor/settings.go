package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/touchmark/touchmark/containerd/bindir"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/distribution"
)

// tooShort is a per_verifier_timeout in which no verifier asks a registry and
// answers.
const tooShort = time.Second

// checkConfig looks at what the configuration says of verifiers, and at its files.
func checkConfig(_ context.Context, s *snapshot) {
	if s.configErr != nil {
		s.Find("containerd-config-unusable", s.configFile, "%s", s.Name(s.configErr.Error()))
		s.CheckWritable("containerd-config-writable", s.At(s.configFile))
		return
	}
	s.checkVerifiers()
	if s.config.Transfer.Disabled && s.config.Release.Transfers() {
		s.Find("transfer-disabled", s.origin(s.config.Transfer.From["disabled_plugins"], "disabled_plugins"), "names io.containerd.transfer.v1.local")
	}
	for _, file := range slices.Compact(append([]string{s.configFile}, s.config.Files...)) {
		s.CheckWritable("containerd-config-writable", s.At(file))
	}
	for _, i := range s.config.Imports {
		s.checkImport(i)
	}
	s.checkDropIn()
}

func (s *snapshot) checkVerifiers() {
	v := s.config.Verifier
	switch {
	case !s.hook():
		return
	case !s.config.Release.Verifies():
		s.Find("release-without-verifiers", s.configFile, "this is containerd %s", s.config.Release)
		return
	case s.builtIn():
		return
	case v.Disabled:
		s.Find("verifier-disabled", s.origin(v.From["disabled_plugins"], "disabled_plugins"), "names io.containerd.image-verifier.v1.bindir")
	}
	if v.MaxVerifiers == 0 {
		s.Find("verifiers-none", s.origin(v.From["max_verifiers"], "max_verifiers"), "is 0")
	}
	where := s.origin(v.From["per_verifier_timeout"], "per_verifier_timeout")
	switch t := v.PerVerifierTimeout; {
	case t <= 0:
		s.Find("timeout-zero", where, "is %s", t)
	case t < tooShort:
		s.Find("timeout-tiny", where, "is %s", t)
	case t <= bindir.Timeout:
		s.Find("timeout-short", where, "is %s, and the verifier answers within %s", t, bindir.Timeout)
	}
}

// checkImport looks at an entry of imports. One without a pattern that does not
// exist is an error of the configuration. A place for drop-ins may be empty: that of
// the distribution, whose own configuration names it, or all of a directory that is there.
func (s *snapshot) checkImport(i config.Import) {
	dir := s.At(filepath.Dir(i.Pattern))
	there := s.Exists(dir)
	if there {
		s.CheckWritable("containerd-config-writable", dir)
	}
	if !strings.Contains(i.Pattern, "*") || there && filepath.Base(i.Pattern) == "*.toml" || i.Pattern == distribution.Detect(s.Host).Override.Import {
		return
	}
	if found, err := filepath.Glob(s.At(i.Pattern)); err == nil && len(found) == 0 {
		s.Find("import-unmatched", i.File+": imports", "%s matches no file", i.Pattern)
	}
}

// dropIn is what containerd/install calls its file.
const dropIn = "99-touchmark.toml"

// checkDropIn looks whether what Touchmark's own drop-in says holds.
func (s *snapshot) checkDropIn() {
	dirs := []string{s.Host.Within(s.Host.DropIns())}
	for _, i := range s.config.Imports {
		dirs = append(dirs, filepath.Dir(i.Pattern))
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, dropIn)
		switch {
		case !s.Exists(s.At(file)):
		case slices.Contains(s.config.Files, file):
			s.checkOverridden(file)
			return
		default:
			s.Find("dropin-not-imported", file, "%s imports it neither itself nor by another file", s.Name(s.configFile))
			return
		}
	}
}

// checkOverridden looks for settings of Touchmark's drop-in that another file has
// the last word on.
func (s *snapshot) checkOverridden(file string) {
	own, err := config.Load(s.Host, s.At(file), s.config.Release)
	if err != nil {
		s.Find("containerd-config-unusable", file, "%s", s.Name(err.Error()))
		return
	}
	meant, said := settings(own), settings(s.config)
	for _, name := range sortedKeys(meant) {
		if m := meant[name]; m.from == file && said[name].value != m.value {
			s.Find("dropin-overridden", s.origin(said[name].from, name), "is %s, and Touchmark's drop-in %s says %s", said[name].value, file, m.value)
		}
	}
}

// setting is a value and the file that it comes from.
type setting struct{ value, from string }

// settings are those that decide whether verifiers are asked, by their names.
func settings(c *config.Config) map[string]setting {
	v, n := c.Verifier, c.NRI
	out := map[string]setting{
		"bin_dir":              {v.BinDir, v.From["bin_dir"]},
		"max_verifiers":        {strconv.Itoa(v.MaxVerifiers), v.From["max_verifiers"]},
		"per_verifier_timeout": {v.PerVerifierTimeout.String(), v.From["per_verifier_timeout"]},
		"nri disable":          {strconv.FormatBool(n.Disabled), n.From["disable"]},
		"required_plugins":     {strings.Join(n.Validator.RequiredPlugins, ", "), n.From["default_validator.required_plugins"]},
	}
	for name, value := range map[string]any{
		"use_local_image_pull": c.CRI.UseLocalImagePull, "disable_snapshot_annotations": c.CRI.DisableSnapshotAnnotations, "discard_unpacked_layers": c.CRI.DiscardUnpackedLayers,
		"max_concurrent_downloads": c.CRI.MaxConcurrentDownloads, "image_pull_with_sync_fs": c.CRI.ImagePullWithSyncFs, "registry.config_path": c.CRI.ConfigPath,
	} {
		out[name] = setting{fmt.Sprint(value), c.CRI.From[name]}
	}
	return out
}

func sortedKeys[V any](m map[string]V) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// checkCRI looks whether the kubelet's pulls ask verifiers.
func checkCRI(_ context.Context, s *snapshot) {
	if s.config == nil || s.config.CRI.Disabled || !s.hook() || !s.config.Release.Verifies() {
		return
	}
	cri := s.config.CRI
	if !cri.Transfers {
		s.Find("release-cri-local", s.configFile, "this is containerd %s", s.config.Release)
	}
	if cri.Invalid != "" {
		s.Find("cri-invalid", s.configFile, "%s", cri.Invalid)
		return // nothing pulls there
	}
	for _, l := range cri.LocalPull {
		code := localPulls[l.Name]
		if code == "" { // of a release to come
			code = "cri-local-pull"
		}
		s.Find(code, s.origin(l.File, l.Name), "is %s", l.Value)
	}
}

// localPulls are the causes by the settings that make CRI pull by itself.
var localPulls = map[string]string{
	"use_local_image_pull":         "cri-local-pull",
	"disable_snapshot_annotations": "cri-snapshot-annotations",
	"discard_unpacked_layers":      "cri-discard-layers",
	"registry.mirrors":             "cri-mirrors",
	"registry.configs":             "cri-configs",
	"registry.auths":               "cri-auths",
	"max_concurrent_downloads":     "cri-concurrent-downloads",
	"image_pull_with_sync_fs":      "cri-sync-fs",
}

// modified is when a file was last changed, its mode and owner included; false if
// that is not known.
func (s *snapshot) modified(path string) (time.Time, bool) {
	resolved, _, err := s.Resolve(s.At(path))
	if err != nil {
		return time.Time{}, false
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return time.Time{}, false
	}
	return changeTime(info), true
}

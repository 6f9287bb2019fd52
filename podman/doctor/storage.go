package doctor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// stores is what storage.conf says.
type stores struct {
	graphRoot  string
	additional []string
	file       string
}

// readStores reads the first storage.conf that exists.
func (s *snapshot) readStores() stores {
	out := stores{graphRoot: "/var/lib/containers/storage"}
	files := []string{"/etc/containers/storage.conf", "/usr/share/containers/storage.conf"}
	if s.Host.User() {
		out.graphRoot = filepath.Join(s.Host.Home, ".local/share/containers/storage")
		files = append([]string{filepath.Join(s.Host.Home, ".config/containers/storage.conf")}, files...)
	}
	for _, file := range files {
		file = s.At(file)
		if !s.Exists(file) {
			continue
		}
		var conf struct {
			Storage struct {
				GraphRoot string `toml:"graphroot"`
				Options   struct {
					Additional []string `toml:"additionalimagestores"`
				} `toml:"options"`
			} `toml:"storage"`
		}
		if s.decode(file, &conf) {
			out.file, out.additional = file, conf.Storage.Options.Additional
			if conf.Storage.GraphRoot != "" && !s.Host.User() {
				out.graphRoot = conf.Storage.GraphRoot
			}
		}
		break
	}
	return out
}

func checkStores(_ context.Context, s *snapshot) {
	all := s.readStores()
	for _, store := range all.additional {
		path := s.At(store)
		if !filepath.IsAbs(store) || !s.Exists(path) {
			continue
		}
		if why := s.Intruder(path); why != "" {
			s.Find("store-writable", path, "%s", why)
		}
		if images := s.images(path); len(images) > 0 {
			s.Find("store-additional", path, "holds %d images, and is named in %s", len(images), s.Name(all.file))
		}
	}
}

func checkImages(_ context.Context, s *snapshot) {
	made := s.installed()
	if made.IsZero() {
		return
	}
	root := s.At(s.readStores().graphRoot)
	before := 0
	for _, dir := range s.images(root) {
		resolved, _, err := s.Resolve(dir)
		if err != nil {
			continue
		}
		if info, err := os.Stat(resolved); err == nil && info.ModTime().Before(made) {
			before++
		}
	}
	if before > 0 {
		s.Find("images-unjudged", root, "holds %d images that are older than the host's key", before)
	}
}

// installed is when the host's key was made; zero if that is not known.
func (s *snapshot) installed() time.Time {
	if s.Intent.Public == "" {
		return time.Time{}
	}
	resolved, _, err := s.Resolve(s.At(s.Intent.Public))
	if err != nil {
		return time.Time{}
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// images are the directories with the manifests of a store's images.
func (s *snapshot) images(store string) (out []string) {
	for _, driver := range []string{"overlay", "vfs", "btrfs", "zfs"} {
		dir := filepath.Join(store, driver+"-images")
		if !s.Exists(filepath.Join(dir, "images.json")) {
			continue
		}
		data, ok := s.Read(filepath.Join(dir, "images.json"))
		if !ok {
			continue
		}
		var list []struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(data, &list); err != nil {
			s.Unreadable(filepath.Join(dir, "images.json"), err)
			continue
		}
		for _, image := range list {
			out = append(out, filepath.Join(dir, filepath.Base(image.ID)))
		}
	}
	return out
}

func checkOthers(_ context.Context, s *snapshot) {
	if s.Host.User() {
		return
	}
	for _, path := range []string{"/run/docker.sock", "/usr/bin/dockerd", "/usr/sbin/dockerd"} {
		if s.Exists(s.At(path)) {
			s.Find("docker-present", s.At(path), "Docker reads no policy.json")
			break
		}
	}
	if len(s.clients()) == 0 {
		s.Find("client-missing", s.At("/usr/bin"), "there is no podman, skopeo, buildah or CRI-O")
	}
}

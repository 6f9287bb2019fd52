package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
)

// What registries need is what [config.Load] shows, and the credentials besides, of
// every version and all files.
func TestRegistries(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	main := write("config.toml", `version = 2
imports = ["drop-*.toml"]
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.configs."a.example".auth]
username = "a"
password = "s3cret"
[plugins."io.containerd.grpc.v1.cri".registry.auths."https://b.example".auth]
`)
	write("drop-1.toml", `version = 3
[plugins."io.containerd.cri.v1.images".registry]
config_path = "/one:/two"
[plugins."io.containerd.cri.v1.images".registry.auths."https://b.example"]
auth = "YjpzM2NyZXQ="
[plugins."io.containerd.cri.v1.images".registry.auths."c.example"]
identitytoken = "t0ken"
`)
	got, err := config.LoadRegistries(containerd.Host{}, main, config.Newest())
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Registries{HostsDirs: []string{"/one", "/two"}, Auths: map[string]config.Auth{
		"a.example": {Username: "a", Password: "s3cret"}, "b.example": {Auth: "YjpzM2NyZXQ="}, "c.example": {IdentityToken: "t0ken"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	shown, err := config.Load(containerd.Host{}, main, config.Newest())
	if err != nil || !cmp.Equal(filepath.SplitList(shown.CRI.ConfigPath), got.HostsDirs) {
		t.Errorf("Load has %+v, %v", shown, err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", got, got, got), fmt.Sprintf("%v %+v %#v", shown, shown, shown)} {
		for _, secret := range []string{"s3cret", "t0ken", "YjpzM2NyZXQ="} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is shown: %s", secret, text)
			}
		}
	}
	for _, none := range []string{filepath.Join(dir, "none"), ""} {
		if r, err := config.LoadRegistries(containerd.Host{}, none, config.Newest()); err != nil || len(r.HostsDirs) != 2 || len(r.Auths) > 0 {
			t.Errorf("%q: %+v, %v", none, r, err)
		}
	}
}

// A file that is no TOML is named, and what stands in it is not.
func TestRegistriesThatAreWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	for _, value := range []string{"hunter2", `"hunter2`, "'hunter2", "12hunter2", "2020-01-hunter2", "0xhunter2", "inf-hunter2", `"\hunter2"`, "[hunter2]", `["hunter2"]`, "true hunter2"} {
		text := "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.configs.'a.example'.auth]\npassword = " + value + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.LoadRegistries(containerd.Host{}, file, config.Newest())
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "unter") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", value, err)
		}
	}
}

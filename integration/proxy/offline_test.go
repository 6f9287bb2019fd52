package proxy_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// Stock clients list tags and inspect an image while distribution's registry is down, as they did before.
func TestOffline_StockClients(t *testing.T) {
	crane, skopeo := lab.Tool(t, "crane-v0.22.1"), coretest.RequireTool(t, "skopeo")
	dir, address := t.TempDir(), lab.FreeAddress(t)
	command, file := lab.Distribution(t, address, filepath.Join(dir, "data"), "")
	registry := command.Serve(t, "http://"+address+"/v2/", "serve", file)
	for i := range 3 {
		ref, err := name.ParseReference(fmt.Sprintf("%s/good:%d", address, i))
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, coretest.Image(t, int64(i))); err != nil {
			t.Fatal(err)
		}
	}
	w := newFronted(t, fmt.Sprintf("registries: [{name: registry.acme.example, upstream: %q}]\ncache: {dir: %q, size: 1GiB}\noffline: 1h\n", "http://"+address, filepath.Join(dir, "cache")))
	say := func() (all []string) {
		t.Helper()
		for _, c := range [][]string{
			{crane, "ls", w.host + "/good"},
			{skopeo, "list-tags", "--tls-verify=false", "docker://" + w.host + "/good"},
			{skopeo, "inspect", "--tls-verify=false", "docker://" + w.host + "/good:1"},
		} {
			r := lab.Command{Program: c[0]}.Run(t, c[1:]...)
			if r.Status != 0 {
				t.Errorf("%s: %s\n%s", strings.Join(c, " "), r.Output(), w.log)
			}
			all = append(all, r.Stdout)
		}
		return all
	}
	before := say()
	registry.Kill()
	after := say()
	for i := range before {
		if before[i] != after[i] || before[i] == "" {
			t.Errorf("before the outage:\n%s\nin it:\n%s", before[i], after[i])
		}
	}
}

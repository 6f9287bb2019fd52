package install_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// TestPOD02_StockRegistriesD holds what agents are asked for, and in which
// directory signatures are written, on hosts with their distribution's files.
func TestPOD02_StockRegistriesD(t *testing.T) {
	t.Parallel()
	agent := "http://127.0.0.1:7467/lookaside/"
	const staging = "file:///var/lib/touchmark-staging"
	for _, c := range []struct {
		registries string
		scopes     []string
		want       map[string]registriesd.Namespace // by repository; of the file only the base name
		chain      map[string]string
	}{
		{"debian", []string{"registry.example"}, map[string]registriesd.Namespace{
			"registry.example/app":     {Lookaside: agent + "registry.example", Staging: staging, File: "touchmark.yaml", Key: "registry.example"},
			"registry.example:443/app": {Lookaside: agent + "registry.example:443", Staging: staging, File: "touchmark.yaml", Key: "registry.example:443"},
			"other.example/app":        {},
		}, map[string]string{"registry.example/app": ""}},
		{"rhel", []string{"registry.example", "registry.redhat.io/ubi9"}, map[string]registriesd.Namespace{
			"registry.example/app":            {Lookaside: agent + "registry.example", Staging: staging, File: "touchmark.yaml", Key: "registry.example"},
			"registry.redhat.io/ubi9/ubi":     {Lookaside: agent + "registry.redhat.io", Staging: staging, File: "touchmark.yaml", Key: "registry.redhat.io/ubi9"},
			"registry.redhat.io/rhel9/x":      {Lookaside: "https://registry.redhat.io/containers/sigstore", Staging: "https://registry.redhat.io/containers/sigstore", File: "registry.redhat.io.yaml", Key: "registry.redhat.io"},
			"registry.access.redhat.com/ubi9": {Lookaside: "https://access.redhat.com/webassets/docker/content/sigstore", Staging: "https://access.redhat.com/webassets/docker/content/sigstore", File: "registry.access.redhat.com.yaml", Key: "registry.access.redhat.com"},
			"quay.io/x/y":                     {Staging: "file:///var/lib/containers/sigstore"},
		}, map[string]string{"registry.redhat.io/ubi9/ubi": "https://registry.redhat.io/containers/sigstore", "registry.example/app": ""}},
		{"fedora", []string{"registry.example/acme", "registry.redhat.io"}, map[string]registriesd.Namespace{
			"registry.example/acme/app":      {Lookaside: agent + "registry.example", Staging: staging, UseSigstoreAttachments: true, File: "touchmark.yaml", Key: "registry.example/acme"},
			"registry.example/acme/tools/x":  {Lookaside: agent + "registry.example", Staging: "file:///srv/staging", UseSigstoreAttachments: true, File: "touchmark.yaml", Key: "registry.example/acme/tools"},
			"registry.example/acme/attached": {Lookaside: agent + "registry.example", Staging: staging, UseSigstoreAttachments: true, File: "touchmark.yaml", Key: "registry.example/acme"},
			"registry.redhat.io/ubi9/ubi":    {Lookaside: agent + "registry.redhat.io", Staging: staging, File: "touchmark.yaml", Key: "registry.redhat.io"},
			"quay.io/x/y":                    {Lookaside: "https://quay.example/", Staging: "https://quay.example/", File: "default.yaml", Key: "quay.io"},
		}, map[string]string{
			"registry.example/acme/app": "https://signatures.acme.example/", "registry.example/acme/tools/x": "file:///srv/signatures",
			"registry.redhat.io/ubi9/ubi": "https://registry.redhat.io/containers/sigstore",
		}},
	} {
		t.Run(c.registries, func(t *testing.T) {
			h := host(t, "rhel8", c.registries)
			apply(t, options(h, c.scopes...))
			r, err := registriesd.Load(h.RegistriesD())
			if err != nil {
				t.Fatal(err)
			}
			chain, err := install.Chain(h)
			if err != nil {
				t.Fatal(err)
			}
			got, chained := map[string]registriesd.Namespace{}, map[string]string{}
			for repository := range c.want {
				n, _ := r.For(repository)
				if n.File != "" {
					n.File = filepath.Base(n.File)
				}
				got[repository] = n
			}
			for repository := range c.chain {
				chained[repository], _ = chain(repository)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.chain, chained); diff != "" {
				t.Errorf("chained (-want +got)\n%s", diff)
			}
		})
	}
}

func TestTheDefaultDirectoryOfSignaturesIsChainedWhereItWasNeeded(t *testing.T) {
	t.Parallel()
	h := host(t, "rhel8", "debian")
	if err := os.MkdirAll(h.DefaultLookaside(), 0o755); err != nil {
		t.Fatal(err)
	}
	apply(t, options(h, "registry.redhat.io", "registry.example"))
	chain, err := install.Chain(h)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := chain("registry.redhat.io/ubi9"); got != "file:///var/lib/containers/sigstore" {
		t.Errorf("chained %q", got)
	}
	if got, ok := chain("registry.example/app"); ok {
		t.Errorf("chained %q where nobody else's signature counts", got)
	}
}

func TestPOD03_TheLookasideIsSetForThePlaceAndNotForTheName(t *testing.T) {
	t.Parallel()
	h := host(t, "debian", "debian")
	table, err := location.New([]location.Rewrite{
		{Prefix: "registry.example", Location: "mirror.example:5000/hub", Mirrors: []location.Mirror{{Location: "near.example/cache"}}},
		{Prefix: "registry.example/acme/special", Location: "special.example/x"},
		{Prefix: "other.example", Location: "elsewhere.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := options(h, "registry.example/acme")
	o.Table = table
	apply(t, o)
	r, err := registriesd.Load(h.RegistriesD())
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{
		"mirror.example:5000/hub/acme/app": "mirror.example:5000", "near.example/cache/acme/app": "near.example", "special.example/x": "special.example",
		"registry.example/acme/app": "", "mirror.example:5000/hub/other": "", "elsewhere.example/acme": "",
	} {
		if want != "" {
			want = "http://127.0.0.1:7467/lookaside/" + want
		}
		if n, _ := r.For(repository); n.Lookaside != want {
			t.Errorf("%s: lookaside %q, want %q", repository, n.Lookaside, want)
		}
	}
}

func TestPOD09_TheProxyIsALocationAndNeverAMirror(t *testing.T) {
	t.Parallel()
	h := host(t, "debian", "debian")
	o := options(h, "registry.example")
	o.Proxies = map[string]string{"registry.example": "http://127.0.0.1:5443"}
	apply(t, o)
	text := read(t, filepath.Join(h.RegistriesConfDir(), "touchmark.conf"))
	if !strings.Contains(text, "prefix = \"registry.example\"\nlocation = \"127.0.0.1:5443\"\ninsecure = true\n") || strings.Contains(text, "mirror]") {
		t.Errorf("drop-in\n%s", text)
	}
	r, err := registriesd.Load(h.RegistriesD())
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := r.For("127.0.0.1:5443/app"); n.Lookaside != "http://127.0.0.1:7467/lookaside/127.0.0.1:5443" {
		t.Errorf("lookaside of the proxy: %+v", n)
	}
	// A rule that somebody has about the same registry would be lost, or lead past
	// the proxy.
	h = host(t, "debian", "debian")
	o = options(h, "registry.example")
	o.Proxies = map[string]string{"registry.example": "https://proxy.example"}
	var err2 error
	if o.Table, err2 = location.New([]location.Rewrite{{Prefix: "registry.example/team", Location: "x.example", From: "/etc/mine.conf"}}); err2 != nil {
		t.Fatal(err2)
	}
	if _, err := install.Plan(o); err == nil || !strings.Contains(err.Error(), "/etc/mine.conf") {
		t.Errorf("error %v, want the file", err)
	}
}

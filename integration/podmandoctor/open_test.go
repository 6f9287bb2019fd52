package podmandoctor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/integration/internal/lab"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
)

// open is a cause that lets an unsigned image in.
type open struct {
	code string
	// spoil makes the host such that the cause holds.
	spoil func(*testing.T, *world)
	// pull has a client of the host fetch an unsigned image, and reports whether it got it; nil: skopeo fetches bad.
	pull func(*testing.T, *world) bool
	// ask changes what the doctor is asked; may be nil.
	ask func(*world, *podmandoctor.Config)
	// others says that images outside of the declared scope may be accepted.
	others bool
	// both says that --fix adds the host's demand to another's, which stays: the signed image does not meet that.
	both bool
}

func inPolicy(declared string, others map[string]string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) { w.Write(t, "/etc/containers/policy.json", policy(declared, others)) }
}

var layoutTag = map[string]string{"oci": ":1", "oci-archive": ":1"}

// inTransport is a policy.json with a rule for another transport, and an image for it at /var/tmp/image.
func inTransport(transport string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		good := policy(demand, nil)
		w.Write(t, "/etc/containers/policy.json", strings.Replace(good, `"transports": {`, fmt.Sprintf(`"transports": {%q: {"": %s},`, transport, accept), 1))
		if transport == "docker-archive" {
			tag, err := name.NewTag(bad)
			if err == nil {
				err = tarball.WriteToFile(w.Path("/var/tmp/image"), tag, coretest.Image(t, 2))
			}
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		w.Root().Must(t, 0, "skopeo", "--insecure-policy", "copy", "--quiet", "docker://"+bad, transport+":/var/tmp/image"+layoutTag[transport])
	}
}

func from(transport string) func(*testing.T, *world) bool {
	return func(t *testing.T, w *world) bool {
		return w.copies(t, transport+":/var/tmp/image"+layoutTag[transport])
	}
}

// otherKey puts another key's public half on the host, and has the registry serve that key's signature of bad.
func otherKey(t *testing.T, w *world) {
	t.Helper()
	w.Write(t, "/etc/pki/other.gpg", string(foreign.public))
	w.signs(func(string) []byte { return sign(t, foreign, acme+"/app/bad", w.unsigned) })
}

const otherDemand = `[{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/pki/other.gpg", "signedIdentity": {"type": "matchRepository"}}]`

// asBob runs a script that changes a file of the host as one of its users, and reports whether he could.
func asBob(t *testing.T, w *world, script string) bool {
	t.Helper()
	r := w.Bob().Run(t, "sh", "-ec", script)
	if r.Status != 0 && !strings.Contains(r.Output(), "denied") {
		t.Fatalf("%s: %s", script, r.Output())
	}
	return r.Status == 0
}

var opens = []open{
	{code: "default-accepts", spoil: func(t *testing.T, w *world) {
		w.Write(t, "/etc/containers/policy.json", `{"default": `+accept+`}`)
	}},
	{code: "docker-accepts", spoil: inPolicy("", map[string]string{"": accept})},
	{code: "scope-accepts", spoil: inPolicy(accept, nil)},
	{code: "scope-other-key", both: true, spoil: func(t *testing.T, w *world) { otherKey(t, w); inPolicy(otherDemand, nil)(t, w) }},
	{code: "namespace-accepts", spoil: inPolicy(demand, map[string]string{acme + "/app": accept})},
	{code: "namespace-other-key", both: true, spoil: func(t *testing.T, w *world) {
		otherKey(t, w)
		inPolicy(demand, map[string]string{acme + "/app": otherDemand})(t, w)
	}},
	{code: "image-accepts", spoil: inPolicy(demand, map[string]string{bad: accept})},
	{code: "wildcard-accepts", spoil: inPolicy("", map[string]string{"*.acme.example": accept})},
	{code: "undeclared-accepts", spoil: inPolicy(demand, map[string]string{other: accept}), pull: func(t *testing.T, w *world) bool { return w.copies(t, stray) }},
	{code: "spelling-accepts", spoil: func(t *testing.T, w *world) {
		w.Write(t, "/etc/containers/policy.json", strings.Replace(policy(demand, nil), reject, accept, 1))
		w.registriesAlso(t, fmt.Sprintf("[[registry]]\nprefix = \"%s:443\"\nlocation = %q\ninsecure = true\n", acme, w.registry))
	}, pull: func(t *testing.T, w *world) bool { return w.copies(t, acme+":443/app/bad:1") }, others: true},
	{code: "identity-fixed", spoil: func(t *testing.T, w *world) {
		inPolicy(strings.Replace(demand, `"matchRepository"`, `"exactRepository", "dockerRepository": "`+acme+`/app/good"`, 1), nil)(t, w)
		coretest.Push(t, w.registry+"/app/elsewhere:1", coretest.Image(t, 1))
		w.signs(func(question string) []byte {
			if !strings.Contains(question, "elsewhere") {
				return nil
			}
			blob, err := w.key.Load().Countersign(acme+"/app/good", w.admitted, time.Now()) // recorded
			if err != nil {
				t.Error(err)
			}
			return blob
		})
	}, pull: func(t *testing.T, w *world) bool { return w.copies(t, acme+"/app/elsewhere:1") }},
	{code: "transport-open", spoil: inTransport("docker-archive"), pull: from("docker-archive")},
	{code: "transport-open", spoil: inTransport("oci-archive"), pull: from("oci-archive")},
	{code: "transport-open", spoil: inTransport("oci"), pull: from("oci")},
	{code: "transport-open", spoil: inTransport("dir"), pull: from("dir")},
	{code: "policy-writable", spoil: chmod("/etc/containers/policy.json", 0o666), pull: func(t *testing.T, w *world) bool {
		if !asBob(t, w, `echo '{"default": `+accept+`}' >/etc/containers/policy.json`) {
			return false
		}
		defer inPolicy(demand, nil)(t, w)
		return w.copies(t, bad)
	}},
	{code: "keyring-extra", spoil: func(t *testing.T, w *world) {
		otherKey(t, w)
		w.Root().Must(t, 0, "sh", "-c", "cat /etc/pki/other.gpg >>/etc/touchmark/podman/countersign.gpg")
	}},
	{code: "keyring-writable", spoil: chmod("/etc/touchmark/podman/countersign.gpg", 0o666), pull: func(t *testing.T, w *world) bool {
		otherKey(t, w)
		if !asBob(t, w, "cat /etc/pki/other.gpg >>/etc/touchmark/podman/countersign.gpg") {
			return false
		}
		defer w.installKey(t)
		return w.copies(t, bad)
	}},
	{code: "proxy-as-mirror", spoil: func(t *testing.T, w *world) {
		inPolicy(accept, nil)(t, w)
		w.registries(t, fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", acme, w.registry, w.proxy(t)))
	}, ask: throughProxy},
	{code: "proxy-bypassed", spoil: func(t *testing.T, w *world) { inPolicy(accept, nil)(t, w); w.proxy(t) }, ask: throughProxy},
	{code: "alias-unjudged", spoil: func(t *testing.T, w *world) {
		inPolicy(demand, map[string]string{other: accept})(t, w)
		w.registriesAlso(t, fmt.Sprintf("[aliases]\n\"good\" = \"%s/app/unknown\"\n", other))
	}, pull: podmanPulls("good:1")},
	{code: "search-unjudged", spoil: func(t *testing.T, w *world) {
		inPolicy(demand, map[string]string{other: accept})(t, w)
		w.registriesFirst(t, fmt.Sprintf("unqualified-search-registries = [%q]\n", other))
	}, pull: podmanPulls("app/unknown:1")},
	{code: "agent-observing", spoil: func(_ *testing.T, w *world) { w.observe.Store(true); w.status.Enforcing = false }},
	{code: "key-readable", spoil: chmod("/etc/touchmark/podman/countersign.key", 0o644), pull: func(t *testing.T, w *world) bool {
		// Bob reads the key, signs, and pushes the signature to the registry.
		if !asBob(t, w, "cat /etc/touchmark/podman/countersign.key") {
			return false
		}
		stolen := keyFiles{secret: w.read(t, "/etc/touchmark/podman/countersign.key"), public: w.read(t, "/etc/touchmark/podman/countersign.gpg")}
		w.signs(func(string) []byte { return sign(t, stolen, acme+"/app/bad", w.unsigned) })
		return w.copies(t, bad)
	}},
	{code: "shell-bypass", spoil: write("/etc/profile.d/containers.sh", "# faster\nalias skopeo='skopeo --insecure-policy'\n"), pull: func(t *testing.T, w *world) bool {
		return w.gets(t, w.Alice(), "sh", "-c", ". /etc/profile.d/containers.sh\nskopeo copy docker://"+bad+" dir:"+w.out(t))
	}},
	{code: "unit-bypass", spoil: write("/etc/systemd/system/app.service", "[Service]\nExecStartPre=/usr/bin/skopeo --insecure-policy copy \\\n  docker://"+bad+" dir:/var/tmp/unit\n"), pull: runs("/etc/systemd/system/app.service", "ExecStartPre=")},
	{code: "quadlet-bypass", spoil: func(t *testing.T, w *world) {
		write("/etc/open.json", `{"default": `+accept+`}`)(t, w)
		write("/etc/containers/systemd/app.container", "[Container]\nImage="+bad+"\nPodmanArgs=--signature-policy=/etc/open.json\n")(t, w)
	}, pull: func(t *testing.T, w *world) bool {
		return w.gets(t, w.Root(), "podman", "create", "--signature-policy=/etc/open.json", bad, "/x")
	}},
	{code: "cron-bypass", spoil: func(t *testing.T, w *world) {
		write("/etc/open.json", `{"default": `+accept+`}`)(t, w)
		write("/etc/cron.d/mirror", "0 4 * * * root skopeo --policy /etc/open.json copy docker://"+bad+" dir:/var/tmp/cron\n")(t, w)
	}, pull: runs("/etc/cron.d/mirror", "0 4 * * * root")},
	{code: "wrapper-bypass", spoil: func(t *testing.T, w *world) {
		write("/usr/local/bin/skopeo", "#!/bin/sh\nexec /usr/bin/skopeo --insecure-policy \"$@\"\n")(t, w)
		chmod("/usr/local/bin/skopeo", 0o755)(t, w)
	}},
	{code: "environment-registries", spoil: func(t *testing.T, w *world) {
		inPolicy(accept, nil)(t, w)
		write("/etc/direct.conf", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", acme, w.registry))(t, w)
		write("/etc/environment", "CONTAINERS_REGISTRIES_CONF=/etc/direct.conf\n")(t, w)
		w.registries(t, fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", acme, w.proxy(t)))
	}, pull: func(t *testing.T, w *world) bool {
		return w.gets(t, w.Root(), "env", "CONTAINERS_REGISTRIES_CONF=/etc/direct.conf", "podman", "pull", "--quiet", bad)
	}, ask: throughProxy},
	{code: "environment-policy", spoil: func(t *testing.T, w *world) {
		write("/etc/open.json", `{"default": `+accept+`}`)(t, w)
		write("/etc/environment", "CONTAINERS_POLICY_JSON=/etc/open.json\n")(t, w)
	}, pull: func(t *testing.T, w *world) bool {
		c := lab.Command{Program: policyjudge, Env: []string{"CONTAINERS_POLICY_JSON=" + w.Path("/etc/open.json")}, Stdin: fmt.Appendf(nil, `{"reference": %q}`+"\n", bad)}
		r := c.Run(t, "-registries.d", w.Path("/etc/containers/registries.d"), "-registries.conf", w.Path(registriesConf))
		return strings.Contains(r.Stdout, `"allowed":true`)
	}},
	{code: "crio-policy", spoil: func(t *testing.T, w *world) {
		write("/etc/crio/policy.json", policy(accept, nil))(t, w)
		write("/etc/crio/crio.conf.d/10-lab.conf", "[crio.image]\nsignature_policy = \"/etc/crio/policy.json\"\n")(t, w)
	}, pull: byPolicy("/etc/crio/policy.json")},
	{code: "crio-namespace-policy", spoil: write("/etc/crio/policies/staging.json", policy(accept, nil)), pull: byPolicy("/etc/crio/policies/staging.json")},
	{code: "user-policy", spoil: func(t *testing.T, w *world) {
		w.Alice().Write(t, "/home/alice/.config/containers/policy.json", `{"default": `+accept+`}`)
	}, pull: func(t *testing.T, w *world) bool {
		return w.gets(t, w.Alice(), "skopeo", "copy", "--quiet", "docker://"+bad, "dir:"+w.out(t))
	}},
	{code: "user-registries", spoil: func(t *testing.T, w *world) {
		inPolicy(accept, nil)(t, w)
		w.registries(t, fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", acme, w.proxy(t)))
		w.Alice().Write(t, "/home/alice/.config/containers/registries.conf", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", acme, w.registry))
	}, pull: func(t *testing.T, w *world) bool {
		return w.gets(t, w.Alice(), "skopeo", "copy", "--quiet", "docker://"+bad, "dir:"+w.out(t))
	}, ask: throughProxy},
	{code: "store-writable", spoil: func(t *testing.T, w *world) {
		write("/etc/containers/storage.conf", "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/var/lib/containers/storage\"\n[storage.options]\nadditionalimagestores = [\"/var/lib/shared\"]\n")(t, w)
		w.Root().Must(t, 0, "skopeo", "--insecure-policy", "copy", "--quiet", "docker://"+bad, "containers-storage:[vfs@/var/lib/shared+/run/shared]"+bad)
		w.Root().Must(t, 0, "chown", "bob", "/var/lib/shared")
	}, pull: func(t *testing.T, w *world) bool {
		// Whoever can write the store, has images run.
		return asBob(t, w, "touch /var/lib/shared/planted") && w.gets(t, w.Root(), "podman", "create", "--pull", "never", bad, "/x")
	}},
}

// TestOpen: each cause lets an unsigned image in, and is named.
func TestOpen(t *testing.T) {
	for _, c := range opens {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.evil.Store(c.code != "agent-observing")
			c.spoil(t, w)
			pull := c.pull
			if pull == nil {
				pull = func(t *testing.T, w *world) bool { return w.copies(t, bad) }
			}
			if !pull(t, w) {
				t.Error("the image does not get in: this is no way past policy.json")
			}
			r := w.examine(t, func(config *podmandoctor.Config) {
				config.Intent.OthersAccepted = c.others
				if c.ask != nil {
					c.ask(w, config)
				}
			})
			if !r.Has(c.code) || r.Enforcing != doctor.No {
				t.Errorf("enforcing: %s, want no by %s\n%s", r.Enforcing, c.code, codes(r))
			}
			if cause(c.code).Fixable && c.ask == nil {
				w.fixed(t, c, r)
				if pull(t, w) {
					t.Error("the image gets in after --fix")
				}
			}
		})
	}
}

func cause(code string) doctor.Cause {
	for _, subject := range podmandoctor.Catalog() {
		for _, c := range subject.Causes {
			if c.Code == code {
				return c
			}
		}
	}
	return doctor.Cause{}
}

// fixed has the doctor close a cause, and examines the host again. The signed image still gets in, from a registry that is no longer evil.
func (w *world) fixed(t *testing.T, c open, r *doctor.Report) {
	t.Helper()
	config := w.doctorConfig()
	config.Intent.OthersAccepted = c.others
	steps, err := podmandoctor.Fix(t.Context(), config, r, podmandoctor.Remedies{
		Retire: func(ctx context.Context) error {
			return countersign.Retire(ctx, countersign.ForHost(w.config, keys.Options{}))
		},
	})
	if err != nil || len(steps) == 0 {
		t.Errorf("fixing: %v, %v", steps, err)
	}
	again, err := podmandoctor.Examine(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if again.Has(c.code) {
		t.Errorf("after --fix:\n%s", codes(again))
	}
	if !c.both {
		w.evil.Store(false)
		if !w.copies(t, good) {
			t.Error("the signed image is refused after --fix")
		}
		w.evil.Store(true)
	}
}

// TestEveryOpenCauseIsShown: nothing is called open that no client was seen to fall for.
func TestEveryOpenCauseIsShown(t *testing.T) {
	shown := map[string]bool{"config-writable": true, "probe-admitted": true} // by the tests of what is installed
	for _, c := range opens {
		shown[c.code] = true
	}
	for _, subject := range podmandoctor.Catalog() {
		for _, c := range subject.Causes {
			if c.Severity == doctor.Open && !shown[c.Code] {
				t.Errorf("%s: nothing shows that it lets an image in", c.Code)
			}
		}
	}
}

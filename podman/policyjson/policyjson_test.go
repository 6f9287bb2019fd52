package policyjson_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/podman/policyjson"
)

const (
	accept      = `[{"type":"insecureAcceptAnything"}]`
	reject      = `[{"type":"reject"}]`
	signed      = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"/etc/key.gpg"}`
	withDefault = `{"default":`
)

func parse(t *testing.T, text string) *policyjson.File {
	t.Helper()
	f, err := policyjson.Parse([]byte(text), "policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestParse holds each refusal beside a twin that is read.
func TestParse(t *testing.T) {
	rule := func(requirement string) string { return withDefault + `[` + requirement + `]}` }
	for _, c := range []struct{ name, good, bad, want string }{
		{"unknown key", withDefault + accept + `}`, withDefault + accept + `,"comment":""}`, `"comment": unknown key`},
		{"key in another case", withDefault + accept + `}`, `{"Default":` + accept + `}`, `"Default": unknown key`},
		{"key twice", withDefault + accept + `}`, withDefault + accept + `,"default":` + reject + `}`, `"default" stands twice`},
		{"no default", withDefault + reject + `}`, `{"transports":{}}`, "default: missing"},
		{"default null", withDefault + reject + `}`, `{"default":null}`, "empty list"},
		{"empty list", withDefault + reject + `}`, `{"default":[]}`, "empty list"},
		{"transports null", withDefault + reject + `,"transports":{}}`, withDefault + reject + `,"transports":null}`, "not an object"},
		{"trailing text", withDefault + reject + `} `, withDefault + reject + `}{}`, "text behind"},
		{"transport twice", withDefault + reject + `,"transports":{"docker":{},"dir":{}}}`, withDefault + reject + `,"transports":{"docker":{},"docker":{}}}`, "stands twice"},
		{"scope twice", withDefault + reject + `,"transports":{"docker":{"a":` + accept + `}}}`, withDefault + reject + `,"transports":{"docker":{"a":` + accept + `,"a":` + accept + `}}}`, "stands twice"},
		{"unknown type", rule(`{"type":"reject"}`), rule(`{"type":"ignore"}`), `default[0].type: unknown type "ignore"`},
		{"field too many", rule(`{"type":"reject"}`), rule(`{"type":"reject","keyPath":"x"}`), "default[0].keyPath: unknown key"},
		{"no key", rule(signed), rule(`{"type":"signedBy","keyType":"GPGKeys"}`), "exactly one of"},
		{"two keys", rule(signed), rule(`{"type":"signedBy","keyType":"GPGKeys","keyPath":"x","keyData":"eA=="}`), "exactly one of"},
		{"empty keyPath", rule(signed), rule(`{"type":"signedBy","keyType":"GPGKeys","keyPath":""}`), "is empty"},
		{"keyType", rule(signed), rule(`{"type":"signedBy","keyType":"PGP","keyPath":"x"}`), "keyType: unknown type"},
		{"no keyType", rule(signed), rule(`{"type":"signedBy","keyPath":"x"}`), "keyType: unknown type"},
		{"identity null", rule(signed), rule(`{"type":"signedBy","keyType":"GPGKeys","keyPath":"x","signedIdentity":null}`), "signedIdentity: not an object"},
		{"identity type", rule(`{"type":"signedBy","keyType":"GPGKeys","keyPath":"x","signedIdentity":{"type":"matchRepository"}}`),
			rule(`{"type":"signedBy","keyType":"GPGKeys","keyPath":"x","signedIdentity":{"type":"any"}}`), "signedIdentity.type"},
		{"identity field", rule(`{"type":"signedBy","keyType":"GPGKeys","keyPath":"x","signedIdentity":{"type":"remapIdentity","prefix":"a.example","signedPrefix":"b.example"}}`),
			rule(`{"type":"signedBy","keyType":"GPGKeys","keyPath":"x","signedIdentity":{"type":"remapIdentity","prefix":"a.example"}}`), "signedPrefix: missing"},
		{"empty rekor key", rule(`{"type":"sigstoreSigned","keyPath":"a","rekorPublicKeyPath":""}`), rule(`{"type":"sigstoreSigned","keyPath":"","rekorPublicKeyPath":"r"}`), "exactly one of"},
		{"sigstore keys", rule(`{"type":"sigstoreSigned","keyPaths":["a","b"]}`), rule(`{"type":"sigstoreSigned","keyPaths":[]}`), "no entries"},
		{"sigstore two", rule(`{"type":"sigstoreSigned","keyPath":"a","rekorPublicKeyPath":"r"}`), rule(`{"type":"sigstoreSigned","keyPath":"a","keyPaths":["b"]}`), "exactly one of"},
		{"fulcio without log", rule(`{"type":"sigstoreSigned","fulcio":{"caPath":"a","oidcIssuer":"i","subjectEmail":"e"},"rekorPublicKeyData":"eA=="}`),
			rule(`{"type":"sigstoreSigned","fulcio":{"caPath":"a","oidcIssuer":"i","subjectEmail":"e"}}`), "fulcio needs one of"},
		{"fulcio without mail", rule(`{"type":"sigstoreSigned","fulcio":{"caData":"eA==","oidcIssuer":"i","subjectEmail":"e"},"rekorPublicKeyPath":"r"}`),
			rule(`{"type":"sigstoreSigned","fulcio":{"caPath":"a","oidcIssuer":"i"},"rekorPublicKeyPath":"r"}`), "subjectEmail are needed"},
		{"pki with log", rule(`{"type":"sigstoreSigned","pki":{"caRootsPath":"a","subjectHostname":"h"}}`),
			rule(`{"type":"sigstoreSigned","pki":{"caRootsPath":"a","subjectHostname":"h"},"rekorPublicKeyPath":"r"}`), "do not go together"},
		{"pki roots", rule(`{"type":"sigstoreSigned","pki":{"caRootsData":"eA==","subjectEmail":"e"}}`),
			rule(`{"type":"sigstoreSigned","pki":{"caRootsPath":"a","caRootsData":"eA==","subjectEmail":"e"}}`), "exactly one of caRootsPath"},
		{"base layer", rule(`{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}`), rule(`{"type":"signedBaseLayer"}`), "baseLayerIdentity: missing"},
		{"path scope", withDefault + reject + `,"transports":{"dir":{"/srv/x":` + accept + `}}}`, withDefault + reject + `,"transports":{"dir":{"/srv/../x":` + accept + `}}}`, "absolute path"},
		{"archive scope", withDefault + reject + `,"transports":{"docker-archive":{"":` + accept + `}}}`, withDefault + reject + `,"transports":{"docker-archive":{"/x":` + accept + `}}}`, "no scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parse(t, c.good)
			_, err := policyjson.Parse([]byte(c.bad), "/etc/containers/policy.json")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "/etc/containers/policy.json") {
				t.Errorf("error %v, want the file and %q", err, c.want)
			}
		})
	}
}

func TestPOD03_EffectiveScopes(t *testing.T) {
	f := parse(t, `{"default":`+reject+`,"transports":{
		"docker":{"registry.example":`+accept+`,"registry.example:5000":`+reject+`,"registry.example/team":`+accept+`,"registry.example/team/app:1":`+reject+`,
			"*.example":`+accept+`,"*.sub.example":`+reject+`,"docker.io/library":`+accept+`},
		"atomic":{"":`+accept+`},"dir":{"/srv":`+accept+`,"/srv/in/side":`+reject+`},
		"containers-storage":{"[/var/lib/containers/storage]":`+accept+`,"[overlay@/var/lib/containers/storage]docker.io/library":`+reject+`}}}`)
	for _, c := range []struct{ transport, scope, want string }{
		{"docker", "registry.example/team/app:1", `transports.docker["registry.example/team/app:1"]`},
		{"docker", "registry.example/team/app:2", `transports.docker["registry.example/team"]`},
		{"docker", "registry.example/team/app", `transports.docker["registry.example/team"]`},
		{"docker", "registry.example/team/app@sha256:aa", `transports.docker["registry.example/team"]`},
		{"docker", "registry.example/teams/app:1", `transports.docker["registry.example"]`},
		{"docker", "registry.example", `transports.docker["registry.example"]`},
		{"docker", "registry.example:5000/team/app:1", `transports.docker["registry.example:5000"]`},
		{"docker", "registry.example:443/team/app:1", `transports.docker["*.example"]`},
		{"docker", "a.example/x:1", `transports.docker["*.example"]`},
		{"docker", "a.sub.example:1234/x:1", `transports.docker["*.sub.example"]`},
		{"docker", "sub.example/x:1", `transports.docker["*.example"]`},
		{"docker", "example/x:1", "default"},
		{"docker", "docker.io/library/busybox:1", `transports.docker["docker.io/library"]`},
		{"docker", "docker.io/acme/busybox:1", "default"},
		{"atomic", "registry.example/team/app:1", `transports.atomic[""]`},
		{"dir", "/srv/in/side/x", `transports.dir["/srv/in/side"]`},
		{"dir", "/srv/in", `transports.dir["/srv"]`},
		{"dir", "/srvx", "default"},
		{"oci", "/srv/in", "default"},
		{"tarball", "", "default"},
		{"containers-storage", "[overlay@/var/lib/containers/storage]docker.io/library/busybox:1@sha256:aa", `transports.containers-storage["[overlay@/var/lib/containers/storage]docker.io/library"]`},
		{"containers-storage", "[overlay@/var/lib/containers/storage]registry.example/app:1", `transports.containers-storage["[/var/lib/containers/storage]"]`},
	} {
		if _, from := f.Effective(c.transport, c.scope); from != c.want {
			t.Errorf("%s %s: from %s, want %s", c.transport, c.scope, from, c.want)
		}
	}
}

// TestJSON_IsStable also sees that what is not interpreted is written back.
func TestJSON_IsStable(t *testing.T) {
	text := `{"transports":{"docker":{"b.example":[` + signed + `,{"type":"sigstoreSigned","keyPath":"/a&b/<x>"}],"a.example":` + reject + `}},"default":` + accept + `}`
	f := parse(t, text)
	once := f.JSON()
	again := parse(t, string(once))
	if diff := cmp.Diff(string(once), string(again.JSON())); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(once), `"/a&b/<x>"`) || !f.Equal(again) {
		t.Errorf("written as\n%s", once)
	}
	c := f.Clone()
	c.Set("docker", "b.example", []policyjson.Requirement{policyjson.Plain(policyjson.Reject)})
	if f.Equal(c) || f.Transports["docker"]["b.example"][0].Type != policyjson.SignedBy {
		t.Error("the clone shares with the original")
	}
}

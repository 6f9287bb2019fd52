package attach_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

func TestA132_MalformedDigests(t *testing.T) {
	reg := newRegistry(t, true)
	hex := strings.Repeat("ab", 32)
	for _, d := range []v1.Hash{
		{}, {Algorithm: "sha256", Hex: "../../../etc/passwd"}, {Algorithm: "sha256", Hex: hex[:63]}, {Algorithm: "sha256", Hex: hex + "a"},
		{Algorithm: "sha256", Hex: strings.ToUpper(hex)}, {Algorithm: "sha256", Hex: hex[:63] + "\x00"}, {Algorithm: "sha256", Hex: hex[:63] + "/"},
		{Algorithm: "sha512", Hex: hex + hex}, {Algorithm: "SHA256", Hex: hex}, {Algorithm: "sha256:x", Hex: hex},
	} {
		_, err := attach.Find(t.Context(), reg.src, d)
		checkLookupError(t, err, 0, "/team/app")
		_, _, err = attach.Children(t.Context(), reg.src, d)
		checkLookupError(t, err, 0, "/team/app")
		_, err = attach.WriteBundle(t.Context(), reg.src, v1.Descriptor{Digest: d}, bundleJSON(t, 1), predicateType, now)
		checkLookupError(t, err, 0, "/team/app")
		_, err = attach.WriteLegacy(t.Context(), reg.src, d, payload(1), annotations(1))
		checkLookupError(t, err, 0, "/team/app")
	}
	if got := reg.seen(); len(got) != 0 {
		t.Errorf("requests %q, want none", got)
	}
	find(t, reg.src, someDigest) // admitted twin
}

// The registry serves other bytes than the digest says, at each place that is asked for by digest.
func TestA133_OtherBytesThanTheDigest(t *testing.T) {
	for _, what := range []string{"bundle blob", "bundle manifest", "legacy blob", "same size"} {
		t.Run(what, func(t *testing.T) {
			reg := newRegistry(t, true)
			subject := reg.image(t)
			manifest := reg.writeBundle(t, subject, 1)
			reg.writeLegacy(t, subject, 2)
			forged := bundleJSON(t, 666)
			if what == "same size" {
				forged = bundleJSON(t, 3)
			}
			kinds := map[string]string{"bundle blob": "/blobs/", "same size": "/blobs/", "legacy blob": "/blobs/", "bundle manifest": "/manifests/" + manifest.String()}
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, kinds[what]) {
					return false
				}
				legacy := strings.Contains(string(reg.legacyBlob(subject)), r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
				if strings.Contains(kinds[what], "blobs") && legacy != (what == "legacy blob") {
					return false
				}
				w.Header().Set("Docker-Content-Digest", r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
				w.Header().Set("Content-Type", manifestType)
				w.Write(forged)
				return true
			})
			got, errs := signatures(find(t, reg.src, subject.Digest))
			if len(got) != 1 || len(errs) != 1 || !strings.Contains(errs[0].Error(), "not what its descriptor says") {
				t.Errorf("found %v, %v", got, errs)
			}
		})
	}
}

// legacyBlob is the digest of the second payload, which TestA133 writes.
func (reg *testRegistry) legacyBlob(v1.Descriptor) []byte {
	h, _, _ := v1.SHA256(strings.NewReader(string(payload(2))))
	return []byte(h.String())
}

func TestA135_DockerContentDigestLies(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	other := reg.image(t)
	body := reg.read(t, "manifests/"+subject.Digest.String())
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Docker-Content-Digest", other.Digest.String())
		w.Header().Set("Content-Type", string(subject.MediaType))
		w.Write(body)
		return true
	})
	desc, lookups, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Tag("latest"))
	if err != nil || desc.Digest != subject.Digest || desc.Size != int64(len(body)) || len(lookups) != 1 {
		t.Errorf("%+v, %v, %v", desc, lookups, err)
	}
	_, _, err = attach.Resolve(t.Context(), reg.src, reg.src.Repository.Digest(other.Digest.String()))
	checkLookupError(t, err, 200, other.Digest.String())
	if desc, _, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Digest(subject.Digest.String())); err != nil || desc.Digest != subject.Digest {
		t.Errorf("admitted twin: %+v, %v", desc, err)
	}
}

func TestA129_AmbiguousDocuments(t *testing.T) {
	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	tests := []struct{ name, mediaType, body, want string }{
		{"index with layers", indexType, `{"schemaVersion":2,"manifests":[],"layers":[]}`, "an index with layers"},
		{"manifest with manifests", manifestType, `{"schemaVersion":2,"layers":[],"manifests":[]}`, "a manifest with manifests"},
		{"served as another type", manifestType, index, "but it was served as"},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, "neither a manifest nor an index"},
		{"schema 1 in disguise", manifestType, `{"schemaVersion":1}`, "schemaVersion is 1"},
		{"no media type", "", index, "neither a manifest nor an index"},
		{"two lists", indexType, `{"schemaVersion":2,"manifests":[],"manifests":[]}`, "duplicate"},
		{"two lists by case", indexType, `{"schemaVersion":2,"manifests":[],"MANIFESTS":[]}`, "duplicate"},
		{"two documents", indexType, index + index, "after top-level value"},
		{"duplicate digest in a descriptor", indexType, fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"digest":%q}]}`, someDigest, someDigest), "duplicate"},
		{"deep", indexType, strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), "depth"},
		{"admitted twin", indexType, index, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := newRegistry(t, true)
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				w.Header()["Content-Type"] = []string{tt.mediaType}
				io.WriteString(w, tt.body)
				return true
			})
			_, _, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Tag("latest"))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if checkLookupError(t, err, 200, "/manifests/latest"); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestChildren(t *testing.T) {
	reg := newRegistry(t, true)
	a, b := reg.image(t), reg.image(t)
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"arm64"}},{"mediaType":%q,"digest":%q,"size":%d}]}`,
		a.MediaType, a.Digest, a.Size, b.MediaType, b.Digest, b.Size)
	reg.put(t, "multi", indexType, index)
	desc, _, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Tag("multi"))
	if err != nil {
		t.Fatal(err)
	}
	children, lookups, err := attach.Children(t.Context(), reg.src, desc.Digest)
	if err != nil || len(children) != 2 || children[0].Digest != a.Digest || children[0].Platform.Architecture != "arm64" || len(lookups) != 1 {
		t.Errorf("%v, %v, %v", children, lookups, err)
	}
	if children, _, err := attach.Children(t.Context(), reg.src, a.Digest); err != nil || children != nil {
		t.Errorf("of a manifest: %v, %v, want none", children, err)
	}
	_, _, err = attach.Children(t.Context(), reg.src, someDigest)
	checkLookupError(t, err, 404, someDigest.Hex)
}

// zeros never ends.
type zeros struct{ sent *atomic.Int64 }

func (z zeros) Read(p []byte) (int, error) { z.sent.Add(int64(len(p))); return len(p), nil }

func TestA067_EndlessBlob(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.writeBundle(t, subject, 1)
	var sent atomic.Int64
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		io.Copy(w, io.LimitReader(zeros{&sent}, 10<<30))
		return true
	})
	_, errs := signatures(find(t, reg.src, subject.Digest))
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "longer than") {
		t.Errorf("errors %v", errs)
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("took %d bytes", n)
	}
}

func TestA068_HugeManifests(t *testing.T) {
	for _, place := range []string{"sig tag", "referrers", "referrer"} {
		t.Run(place, func(t *testing.T) {
			reg := newRegistry(t, true)
			subject := reg.image(t)
			manifest := reg.writeBundle(t, subject, 1)
			paths := map[string]string{"sig tag": ".sig", "referrers": "/referrers/" + subject.Digest.String(), "referrer": manifest.String()}
			var sent atomic.Int64
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, paths[place]) {
					return false
				}
				w.Header().Set("Content-Type", map[bool]string{true: indexType, false: manifestType}[place == "referrers"])
				io.WriteString(w, `{"schemaVersion":2,"layers":[`)
				for range 10_000_000 {
					n, err := io.WriteString(w, `{"mediaType":"a","digest":"b","size":1},`)
					if sent.Add(int64(n)); err != nil {
						return true
					}
				}
				return true
			})
			found, err := attach.Find(t.Context(), reg.src, subject.Digest)
			if place == "referrers" {
				checkLookupError(t, err, 200, "/referrers/")
			} else if _, errs := signatures(found); err != nil || len(errs) != 1 {
				t.Errorf("found %v, %v, want one error", errs, err)
			}
			if n := sent.Load(); n > 32<<20 {
				t.Errorf("took %d bytes", n)
			}
		})
	}
	t.Run("descriptors that lie about their size cost no request", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		reg.put(t, "sha256-"+subject.Digest.Hex+".sig", manifestType, fmt.Sprintf(`{"schemaVersion":2,"layers":[
			{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":9223372036854775807},
			{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":9223372036854775807},
			{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":-1},
			{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":%q,"size":0}]}`, someDigest, someDigest, someDigest, someDigest))
		reg.intercept(nil)
		got, errs := signatures(find(t, reg.src, subject.Digest))
		if len(got) != 0 || len(errs) != 4 || len(reg.seen()) != 2 {
			t.Errorf("found %v, %v; requests %q", got, errs, reg.seen())
		}
	})
	t.Run("annotations over the limit", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		blob := reg.blob(t, payload(1))
		reg.put(t, "sha256-"+subject.Digest.Hex+".sig", manifestType, fmt.Sprintf(`{"schemaVersion":2,"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":%d,
			"annotations":{"dev.cosignproject.cosign/signature":%q}}]}`, blob, len(payload(1)), strings.Repeat("A", attach.MaxAnnotations)))
		if _, errs := signatures(find(t, reg.src, subject.Digest)); len(errs) != 1 || !strings.Contains(errs[0].Error(), "annotations") {
			t.Errorf("errors %v", errs)
		}
	})
}

// challenge is a registry at https://registry.example that wants a token from this realm, and records who was asked for one.
func challenge(realm string) (attach.Source, func() []string, error) {
	repo, err := name.NewRepository("registry.example/team/app")
	if err != nil {
		return attach.Source{}, nil, err
	}
	var mu sync.Mutex
	var asked []string
	network := wholeTransport(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		token := r.Header.Get("Authorization") == "Bearer t"
		switch {
		case r.URL.Host == "registry.example" && r.URL.Path == "/v2/":
			return answer(r, 401, http.Header{"Www-Authenticate": {`Bearer realm="` + realm + `",service="s"`}}, ""), nil
		case r.URL.Host == "registry.example" && token:
			return answer(r, 404, nil, ""), nil
		}
		asked = append(asked, r.URL.Scheme+"://"+r.URL.Host+" "+r.Header.Get("Authorization"))
		return answer(r, 200, nil, `{"token":"t"}`), nil
	})
	src := attach.Source{Repository: repo, Transport: network, Keychain: credentials("registry.example")}
	return src, func() []string { mu.Lock(); defer mu.Unlock(); return asked }, nil
}

// credentials are known for one registry only.
type credentials string

func (c credentials) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if r.RegistryStr() == string(c) {
		return authn.FromConfig(authn.AuthConfig{Username: "user", Password: "secret"}), nil
	}
	return authn.Anonymous, nil
}

func TestA141_BearerRealm(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))
	for _, realm := range []string{
		"http://auth.example/token", "http://registry.example/token", "ftp://auth.example/token", "//auth.example/token", "auth.example",
		"https://169.254.169.254/latest/meta-data", "https://127.0.0.1/token", "https://[::1]/token", "https://[::ffff:169.254.169.254]/token",
		"https://10.0.0.1/token", "https://192.168.1.1/token", "https://0.0.0.0/token", "https://2130706433/token", "https://0x7f000001/token", "https://127.1/token",
		"https://user:pw@auth.example/token", "https://auth。example/token", "https://127。0。0。1/token", "https://auth.example:99999999/\x7f",
	} {
		t.Run(realm, func(t *testing.T) {
			src, asked, err := challenge(realm)
			if err != nil {
				t.Fatal(err)
			}
			_, err = attach.Find(t.Context(), src, someDigest)
			checkLookupError(t, err, 0, "https://registry.example/v2/")
			if got := asked(); got != nil {
				t.Errorf("asked %q", got)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
	for _, realm := range []string{"https://auth.example/token", "https://registry.example/token"} {
		t.Run("admitted twin "+realm, func(t *testing.T) {
			src, asked, err := challenge(realm)
			if err != nil {
				t.Fatal(err)
			}
			find(t, src, someDigest)
			if got := asked(); len(got) != 1 || !strings.HasSuffix(got[0], basic) {
				t.Errorf("asked %q, want once, with the credentials", got)
			}
		})
	}
}

// What a registry sends us on to gets no credentials, and not everything is followed.
func TestRedirects(t *testing.T) {
	var auth []string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth = append(auth, r.Header.Get("Authorization")+r.Header.Get("Cookie"))
		w.Write(bundleJSON(t, 1))
	}))
	defer storage.Close()
	var target string
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.writeBundle(t, subject, 1)
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v2/":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	reg.src.Keychain = credentials(reg.src.Repository.RegistryStr())
	target = storage.URL + "/blob?X-Signature=verysecret"
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || errs != nil {
		t.Errorf("admitted twin: found %v, %v", got, errs)
	}
	if len(auth) != 1 || auth[0] != "" {
		t.Errorf("storage was asked with %q, want once and without credentials", auth)
	}
	for name, u := range map[string]string{
		"to itself for ever": "/v2/team/app/blobs/sha256:" + someDigest.Hex,
		"metadata service":   "http://169.254.169.254/latest?X-Signature=verysecret",
		"unspecified":        "http://0.0.0.0:1/x?X-Signature=verysecret",
		"number":             "http://2852039166/x?X-Signature=verysecret",
		"file":               "file:///etc/passwd?X-Signature=verysecret",
		"userinfo":           strings.Replace(storage.URL, "://", "://a:b@", 1) + "/x?X-Signature=verysecret",
	} {
		t.Run(name, func(t *testing.T) {
			target = u
			reg.forget()
			_, err := attach.Find(t.Context(), reg.src, subject.Digest)
			if checkLookupError(t, err, 0, "/blobs/"); strings.Contains(err.Error(), "verysecret") {
				t.Errorf("error %q shows a signed query", err)
			}
			if n := len(reg.seen()); n > 9 { // referrers, manifest, .sig, blob and five redirects
				t.Errorf("made %d requests", n)
			}
		})
	}
	if len(auth) != 1 {
		t.Errorf("storage was asked %d times", len(auth))
	}
}

// A registry with TLS can't send us, or our credentials, on without it.
func TestRedirectWithoutTLS(t *testing.T) {
	src := source(t, "registry.example/team/app")
	src.Keychain = credentials("registry.example")
	src.Transport = wholeTransport(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Scheme != "https":
			t.Errorf("asked %s", r.URL)
		case r.URL.Path == "/v2/":
			return answer(r, 401, http.Header{"Www-Authenticate": {`Basic realm="x"`}}, ""), nil
		case strings.Contains(r.URL.Path, "/referrers/"):
			return answer(r, 307, http.Header{"Location": {"http://storage.example/x"}}, ""), nil
		}
		return answer(r, 404, nil, ""), nil
	})
	_, err := attach.Find(t.Context(), src, someDigest)
	checkLookupError(t, err, 0, "/referrers/")
}

// The default keychain looks a registry up by its whole name (docker's own configuration format).
func TestA143_CredentialsAreAnchored(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	config := `{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},"acme.azurecr.io":{"auth":"YWNtZTpzZWNyZXQ="}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]bool{
		"docker.io/team/app": true, "acme.azurecr.io/team/app": true,
		"docker.io.evil.com/team/app": false, "evil-docker.io/team/app": false, "index.docker.io.evil.com/team/app": false,
		"azurecr.io.evil/team/app": false, "evil.acme.azurecr.io/team/app": false, "acme.azurecr.io.evil.com/team/app": false, "acme.azurecr.io:8443/team/app": false,
	} {
		t.Run(repository, func(t *testing.T) {
			src := source(t, repository)
			src.Keychain = authn.DefaultKeychain
			sent := false
			src.Transport = wholeTransport(func(r *http.Request) (*http.Response, error) {
				sent = sent || r.Header.Get("Authorization") != ""
				if r.URL.Path == "/v2/" {
					return answer(r, 401, http.Header{"Www-Authenticate": {`Basic realm="x"`}}, ""), nil
				}
				return answer(r, 404, nil, ""), nil
			})
			find(t, src, someDigest)
			if sent != want {
				t.Errorf("credentials sent: %t, want %t", sent, want)
			}
		})
	}
}

// One handshake for everything that one Find asks.
func TestOneTokenPerFind(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	for n := range 5 {
		reg.writeBundle(t, subject, n)
	}
	var pings, tokens atomic.Int32
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v2/":
			pings.Add(1)
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="s"`, r.Host))
			w.WriteHeader(401)
			return true
		case r.URL.Path == "/token":
			tokens.Add(1)
			if scope := r.URL.Query().Get("scope"); scope != "repository:team/app:pull" {
				t.Errorf("scope %q", scope)
			}
			io.WriteString(w, `{"token":"t"}`)
			return true
		}
		if r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(401)
			return true
		}
		return false
	})
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 5 || errs != nil {
		t.Errorf("found %v, %v", got, errs)
	}
	if pings.Load() != 1 || tokens.Load() != 1 {
		t.Errorf("%d pings, %d tokens, want one of each", pings.Load(), tokens.Load())
	}
}

func TestTokenServerRefuses(t *testing.T) {
	reg := newRegistry(t, true)
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token?a=secret",service="s"`, r.Host))
		}
		w.WriteHeader(401)
		return true
	})
	_, err := attach.Find(t.Context(), reg.src, someDigest)
	checkLookupError(t, err, 401, reg.URL+"/token")
	if le := (*attach.LookupError)(nil); errors.As(err, &le) && strings.Contains(le.URL, "secret") {
		t.Errorf("URL %q has a query", le.URL)
	}
}

package skopeo_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/skopeo"
)

// Everything arrives, and verifies where it arrives, for every kind of source and destination.
func TestCopyCarriesEverything(t *testing.T) {
	w := newWorld(t)
	for _, sourceAPI := range []bool{true, false} {
		for _, destinationAPI := range []bool{true, false} {
			src, dst := newRegistry(t, sourceAPI), newRegistry(t, destinationAPI)
			desc := w.dressed(t, src, "acme/app", 1)
			dir := t.TempDir()
			layout, archive := "oci:"+filepath.Join(dir, "layout"), "oci-archive:"+filepath.Join(dir, "app.tar")
			for i, leg := range [][2]string{
				{src.host + "/acme/app:1", dst.host + "/mirror/app:1"},
				{src.host + "/acme/app:1", layout + ":one"},
				{layout + ":one", archive},
				{layout, layout + "-2:two"},
				{archive, dst.host + "/carried/app:1"},
			} {
				if i > 0 { // what arrives is judged by itself, not by an older verdict
					w.gate = newGate(t, w.Sigstore, alice)
				}
				o := w.options()
				o.Repository = "docker.io/acme/app"
				r := mustCopy(t, leg[0], leg[1], o)
				if r.Digest != desc.Digest.String() || !cmp.Equal(r.Platforms, []string{"linux/amd64", "linux/arm64"}) {
					t.Errorf("%s: copied %s %v, want %s", leg, r.Digest, r.Platforms, desc.Digest)
				}
				if got := counts(r); got != dressedCounts {
					t.Errorf("%s: counted %v, want %v", leg, got, dressedCounts)
				}
				if r.Verdict == nil || !r.Verdict.Admitted() || r.DestinationVerdict == nil || !r.DestinationVerdict.Admitted() {
					t.Errorf("%s: verdicts %+v, %+v", leg, r.Verdict, r.DestinationVerdict)
				}
				if len(r.Omitted) != 0 || r.BytesSent == 0 {
					t.Errorf("%s: omitted %v, sent %d", leg, r.Omitted, r.BytesSent)
				}
			}
			for _, repo := range []string{"mirror/app", "carried/app"} {
				want, got := closure(t, src, "acme/app", "1"), closure(t, dst, repo, "1")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("API %v to API %v: %s: source and destination differ: %s", sourceAPI, destinationAPI, repo, diff)
				}
			}
			tag := dst.host + "/mirror/app:sha256-" + desc.Digest.Hex
			if exists(t, tag) == destinationAPI {
				t.Errorf("fallback tag %s: %v, with referrers API %v", tag, !destinationAPI, destinationAPI)
			}
		}
	}
}

// closure lists every manifest around an image as a verifier finds it, independently of the code under test.
func closure(t *testing.T, reg *wire, repo, tag string) []string {
	t.Helper()
	src := reg.source(t, repo)
	var found []string
	seen := map[string]bool{}
	var visit func(identifier string)
	visit = func(identifier string) {
		m, err := attach.Read(t.Context(), src, identifier)
		if err != nil {
			if le := (*attach.LookupError)(nil); errors.As(err, &le) && le.Status == 404 && strings.HasPrefix(identifier, "sha256-") {
				return
			}
			t.Fatal(err)
		}
		what := m.Digest.String()
		if strings.HasPrefix(identifier, "sha256-") {
			found = append(found, identifier+" is "+what)
		}
		if seen[what] {
			return
		}
		seen[what] = true
		found = append(found, what)
		for _, child := range m.Manifests {
			visit(child.Digest.String())
		}
		for _, layer := range m.Layers {
			if there, err := attach.HasBlob(t.Context(), src, layer.Digest); err != nil || !there {
				t.Errorf("%s: blob %s: %v, %v", repo, layer.Digest, there, err)
			}
		}
		referrers, _, err := attach.ListReferrers(t.Context(), src, m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range referrers {
			found = append(found, what+" has "+r.Digest.String())
			visit(r.Digest.String())
		}
		for _, suffix := range []string{".sig", ".att", ".sbom"} {
			visit("sha256-" + m.Digest.Hex + suffix)
		}
	}
	visit(tag)
	return sorted(found)
}

// A refusal copies nothing; its admitted twin is alice's.
func TestCopyIsVerifiedFirst(t *testing.T) {
	w := newWorld(t)
	src, dst := newRegistry(t, true), newRegistry(t, true)
	for who, o := range map[string]coretest.SignOptions{"alice": {Identity: alice}, "mallory": {Identity: mallory}, "nobody": {}} {
		t.Run(who, func(t *testing.T) {
			ref := coretest.Push(t, src.host+"/acme/"+who+":1", coretest.Image(t, 1))
			desc, err := remote.Head(ref)
			if err != nil {
				t.Fatal(err)
			}
			if who != "nobody" {
				w.attach(t, src.source(t, "acme/"+who), *desc, o)
			}
			dst.intercept(nil)
			r, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/"+who+":1"), place(t, dst.host+"/"+who+":1"), w.options())
			if who == "alice" {
				if err != nil || !exists(t, dst.host+"/"+who+":1") {
					t.Fatalf("not copied: %v", err)
				}
				return
			}
			ve := (*skopeo.VerdictError)(nil)
			if !errors.As(err, &ve) || ve.Verdict.Outcome != gate.OutcomeRefused {
				t.Fatalf("error %v", err)
			}
			if r.BytesSent != 0 || dst.received() != 0 || len(dst.seen("PUT", "")) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestCopyUnverified(t *testing.T) {
	src, dst := newRegistry(t, true), newRegistry(t, true)
	coretest.Push(t, src.host+"/acme/app:1", coretest.Image(t, 1))
	if _, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/app:1"), place(t, dst.host+"/app:1"), skopeo.Options{}); !isUsage(err) {
		t.Errorf("without a gate: %v", err)
	}
	r := mustCopy(t, src.host+"/acme/app:1", dst.host+"/app", skopeo.Options{InsecureSkipVerify: true})
	if r.Verdict != nil || r.DestinationVerdict != nil || r.Tag != "1" {
		t.Errorf("result %+v", r)
	}
}

// The destination's own registry is not asked for what another of its repositories has.
func TestCopyMounts(t *testing.T) {
	w := newWorld(t)
	reg := newRegistry(t, true)
	w.dressed(t, reg, "acme/app", 1)
	reg.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/team/app/blobs/"): // this registry keeps all blobs in one place
			rw.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost && r.URL.Query().Get("from") == "acme/app":
			rw.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	})
	r := mustCopy(t, reg.host+"/acme/app:1", reg.host+"/team/app:1", w.options())
	if mounts := reg.seen("POST", "mount=sha256"); len(mounts) != r.Blobs || len(reg.seen("PATCH", "")) != 0 {
		t.Errorf("%d mounts of %d blobs, uploads %q", len(mounts), r.Blobs, reg.seen("PATCH", ""))
	}
}

func TestCopySecondTimeSendsNothing(t *testing.T) {
	w := newWorld(t)
	for _, api := range []bool{true, false} {
		src, dst := newRegistry(t, true), newRegistry(t, api)
		w.dressed(t, src, "acme/app", 1)
		layout := "oci:" + filepath.Join(t.TempDir(), "layout") + ":1"
		for _, to := range []string{dst.host + "/app:1", layout} {
			first := mustCopy(t, src.host+"/acme/app:1", to, w.options())
			before := closure(t, src, "acme/app", "1")
			dst.intercept(nil)
			second := mustCopy(t, src.host+"/acme/app:1", to, w.options())
			if second.BytesSent != 0 || second.BytesSkipped != first.BytesSent+first.BytesSkipped {
				t.Errorf("%s: first sent %d, second sent %d and skipped %d", to, first.BytesSent, second.BytesSent, second.BytesSkipped)
			}
			if puts := append(dst.seen("PATCH", ""), dst.seen("POST", "")...); len(puts) != 0 {
				t.Errorf("%s: uploads %q", to, puts)
			}
			if to == layout {
				continue
			}
			if diff := cmp.Diff(before, closure(t, dst, "app", "1")); diff != "" {
				t.Errorf("%s: %s", to, diff)
			}
		}
	}
}

// What the destination has beside the image stays: referrers in its fallback index, and its own signatures in the .sig tag.
func TestCopyMergesWithWhatIsThere(t *testing.T) {
	w := newWorld(t)
	src, dst := newRegistry(t, true), newRegistry(t, false)
	desc := w.dressed(t, src, "acme/app", 1)
	coretest.Push(t, dst.host+"/app:1", coretest.Index(t, 1))
	w.attach(t, dst.source(t, "app"), desc, coretest.SignOptions{Identity: mallory})
	w.attach(t, dst.source(t, "app"), desc, coretest.SignOptions{Identity: mallory, Content: coretest.SimpleSigning})
	mustCopy(t, src.host+"/acme/app:1", dst.host+"/app:1", w.options())
	for _, id := range []struct {
		who  string
		gate *gate.Gate
	}{{"alice", newGate(t, w.Sigstore, alice)}, {"mallory", newGate(t, w.Sigstore, mallory)}} {
		v := id.gate.Admit(t.Context(), gate.Request{Repository: "docker.io/library/app", Digest: desc.Digest, Source: dst.source(t, "app")})
		if !v.Admitted() {
			t.Errorf("%s: %s", id.who, v.Reason)
		}
	}
	found, err := attach.Find(t.Context(), dst.source(t, "app"), desc.Digest)
	if err != nil {
		t.Fatal(err)
	}
	where := map[attach.Where]int{}
	for _, e := range found.Evidence {
		where[e.Where]++
	}
	if where[attach.SigTag] != 2 {
		t.Errorf("evidence %v, want two signatures in the .sig tag", where)
	}
	// What can't be merged is not overwritten.
	src2 := newRegistry(t, true)
	w.dressed(t, src2, "acme/app", 1)
	artifact(t, dst.source(t, "app"), nil, "sha256-"+desc.Digest.Hex+".att", "application/vnd.dsse.envelope.v1+json", `{"the destination's":"own"}`)
	_, err = skopeo.Copy(t.Context(), place(t, src2.host+"/acme/app:1"), place(t, dst.host+"/app:2"), w.options())
	wantError(t, err, ".att", "would be lost")
	if exists(t, dst.host+"/app:2") {
		t.Error("the tag is there")
	}
}

func TestCopyPlatform(t *testing.T) {
	w := newWorld(t)
	src, dst := newRegistry(t, true), newRegistry(t, true)
	w.dressed(t, src, "acme/app", 1)
	options := func(platform string) skopeo.Options {
		o := w.options()
		o.Platform = parsePlatform(t, platform)
		return o
	}
	from := place(t, src.host+"/acme/app:1")
	r, err := skopeo.Copy(t.Context(), from, place(t, dst.host+"/amd64:1"), options("linux/amd64"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := counts(r), [4]int{2, 0, 0, 0}; got != want {
		t.Errorf("counted %v, want %v: only the platform's own", got, want)
	}
	if _, err := skopeo.Copy(t.Context(), from, place(t, dst.host+"/arm64:1"), options("linux/arm64")); err == nil || exists(t, dst.host+"/arm64:1") {
		t.Errorf("a platform that isn't signed itself: %v", err)
	}
	_, err = skopeo.Copy(t.Context(), from, place(t, dst.host+"/s390x:1"), options("linux/s390x"))
	if !isUsage(err) {
		t.Errorf("error %v", err)
	}
	wantError(t, err, "linux/amd64 linux/arm64")
}

// The copy's digest is what the destination was asked to hold.
func TestCopyToADigest(t *testing.T) {
	w := newWorld(t)
	src, dst := newRegistry(t, true), newRegistry(t, true)
	desc := w.dressed(t, src, "acme/app", 1)
	r := mustCopy(t, src.host+"/acme/app@"+desc.Digest.String(), dst.host+"/app@"+desc.Digest.String(), w.options())
	if r.Tag != "" {
		t.Errorf("tag %q", r.Tag)
	}
	ref, _ := name.ParseReference(dst.host + "/app@" + desc.Digest.String())
	if _, err := remote.Head(ref); err != nil {
		t.Error(err)
	}
	_, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/app:1"), place(t, dst.host+"/app@sha256:"+strings.Repeat("0", 64)), w.options())
	if !isUsage(err) {
		t.Errorf("error %v", err)
	}
}

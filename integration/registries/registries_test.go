package registries

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
)

var (
	alice = coretest.Email("alice@acme.example")
	bob   = coretest.Email("bob@acme.example")
)

// TestRegistries writes every form of evidence beside an image in every registry, by every way in, and finds it again.
func TestRegistries(t *testing.T) {
	for _, k := range kinds {
		for _, a := range accesses {
			if a.auth != nil && !k.asks {
				continue
			}
			t.Run(k.name+", "+a.name, func(t *testing.T) {
				t.Parallel()
				l := &lair{Sigstore: coretest.New(t), src: a.open(t, k), places: places(k)}
				l.image = l.push(t, 1)
				t.Run("nothing", l.nothing)
				t.Run("every form", l.everyForm)
				t.Run("several writers", l.severalWriters)
				t.Run("not there", l.notThere)
				if a.auth != nil {
					t.Run("wrong password", l.wrongPassword)
				}
			})
		}
	}
}

// lair is one registry with an image, and somebody who signs.
type lair struct {
	*coretest.Sigstore
	src    attach.Source
	image  v1.Descriptor
	places attach.Where // of bundles
}

func places(k kind) attach.Where {
	if k.referrers {
		return attach.Referrers
	}
	return attach.ReferrersTag
}

// push writes an image and asks what it is.
func (l *lair) push(t *testing.T, seed int64) v1.Descriptor {
	t.Helper()
	tag := l.src.Repository.Tag("v1")
	options := []remote.Option{remote.WithContext(t.Context())}
	if l.src.Transport != nil {
		options = append(options, remote.WithTransport(l.src.Transport))
	}
	if l.src.Keychain != nil {
		options = append(options, remote.WithAuthFromKeychain(l.src.Keychain))
	}
	if err := remote.Write(tag, coretest.Image(t, seed), options...); err != nil {
		t.Fatal(err)
	}
	desc, _, err := attach.Resolve(t.Context(), l.src, tag)
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

func (l *lair) sign(t *testing.T, who identity.Identity, content coretest.Content) *bundle.Evidence {
	t.Helper()
	var digest [32]byte
	if _, err := hex.Decode(digest[:], []byte(l.image.Digest.Hex)); err != nil {
		t.Fatal(err)
	}
	return l.SignDigest(t, digest, coretest.SignOptions{Identity: who, Content: content})
}

const predicateType = "https://sigstore.dev/cosign/sign/v1"

func (l *lair) writeBundle(t *testing.T, e *bundle.Evidence) error {
	raw, err := bundle.Marshal(e)
	if err != nil {
		return err
	}
	_, err = attach.WriteBundle(t.Context(), l.src, l.image, raw, predicateType, coretest.Start)
	return err
}

func (l *lair) writeLegacy(t *testing.T, e *bundle.Evidence) error {
	annotations, err := bundle.LegacyAnnotations(e)
	if err != nil {
		return err
	}
	_, err = attach.WriteLegacy(t.Context(), l.src, l.image.Digest, e.Payload.Text, annotations)
	return err
}

func (l *lair) writeAttestation(t *testing.T, e *bundle.Evidence) error {
	annotations, err := bundle.LegacyAttestationAnnotations(e)
	if err != nil {
		return err
	}
	text, err := bundle.EnvelopeJSON(e.Envelope)
	if err != nil {
		return err
	}
	_, err = attach.WriteLegacyAttestation(t.Context(), l.src, l.image.Digest, text, annotations)
	return err
}

// found is what lies beside the image: where each signature is.
func (l *lair) found(t *testing.T) (map[string]attach.Where, attach.Found) {
	t.Helper()
	found, err := attach.FindWithAttestations(t.Context(), l.src, l.image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	signatures := map[string]attach.Where{}
	for _, e := range found.Evidence {
		if e.Err != nil {
			t.Errorf("%s %s: %v", e.Where, e.Manifest, e.Err)
			continue
		}
		signatures[hex.EncodeToString(e.Evidence.Signature())] = e.Where
	}
	return signatures, found
}

func (l *lair) nothing(t *testing.T) {
	got, found := l.found(t)
	want := 3
	if l.places == attach.ReferrersTag {
		want = 4
	}
	if len(got) != 0 || found.ManifestRequests != want {
		t.Errorf("found %v with %d manifest requests, want none with %d", got, found.ManifestRequests, want)
	}
}

func (l *lair) everyForm(t *testing.T) {
	signed, legacy, attested := l.sign(t, alice, coretest.DSSE), l.sign(t, alice, coretest.SimpleSigning), l.sign(t, bob, coretest.DSSE)
	for range 2 { // the second time nothing is added
		if err := errors.Join(l.writeBundle(t, signed), l.writeLegacy(t, legacy), l.writeAttestation(t, attested)); err != nil {
			t.Fatal(err)
		}
	}
	got, found := l.found(t)
	want := map[string]attach.Where{
		hex.EncodeToString(signed.Signature()): l.places, hex.EncodeToString(legacy.Signature()): attach.SigTag, hex.EncodeToString(attested.Signature()): attach.AttTag,
	}
	if diff := cmp.Diff(want, got); diff != "" || len(found.Evidence) != 3 {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// severalWriters add to the same tag at the same time. Registries have no way to keep them apart: what one loses to another after it has looked is lost, and has to be
// written again, which does no harm to the others'.
func (l *lair) severalWriters(t *testing.T) {
	const writers = 4
	var wg sync.WaitGroup
	errs, evidence := make([]error, writers), make([]*bundle.Evidence, writers)
	for i := range writers {
		evidence[i] = l.sign(t, bob, coretest.DSSE)
		wg.Go(func() { errs[i] = l.writeBundle(t, evidence[i]) })
	}
	wg.Wait()
	lost := 0
	got, _ := l.found(t)
	for i, e := range evidence {
		if got[hex.EncodeToString(e.Signature())] != l.places {
			lost++
			t.Logf("writer %d: its bundle is gone, its error was %v", i, errs[i])
			if err := l.writeBundle(t, e); err != nil {
				t.Error(err)
			}
		}
	}
	if lost == writers || lost > 0 && l.places == attach.Referrers {
		t.Errorf("%d of %d were lost", lost, writers)
	}
	got, _ = l.found(t)
	for i, e := range evidence {
		if got[hex.EncodeToString(e.Signature())] != l.places {
			t.Errorf("writer %d: its bundle is gone after it was alone", i)
		}
	}
}

func (l *lair) notThere(t *testing.T) {
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}
	if found, err := attach.FindWithAttestations(t.Context(), l.src, digest); err != nil || len(found.Evidence) != 0 {
		t.Errorf("found %v, %v", found.Evidence, err)
	}
	_, _, err := attach.Resolve(t.Context(), l.src, l.src.Repository.Tag("missing"))
	l.wantStatus(t, err, http.StatusNotFound)
}

func (l *lair) wrongPassword(t *testing.T) {
	src := l.src
	for _, keys := range []keychain{{user, "wrong"}, {"", ""}} {
		src.Keychain = keys
		_, err := attach.Find(t.Context(), src, l.image.Digest)
		l.wantStatus(t, err, http.StatusUnauthorized)
		_, err = attach.WriteBundle(t.Context(), src, l.image, []byte("{}"), predicateType, coretest.Start)
		l.wantStatus(t, err, http.StatusUnauthorized)
	}
}

func (l *lair) wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	le := (*attach.LookupError)(nil)
	if !errors.As(err, &le) || le.Status != status || !strings.Contains(le.URL, l.src.Repository.RegistryStr()) {
		t.Errorf("error %v, want a *LookupError with status %d", err, status)
	}
}

package attach_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

const envelopeType = "application/vnd.dsse.envelope.v1+json"

// envelopeJSON is a well-formed envelope that proves nothing; n makes it unique.
func envelopeJSON(n int) []byte {
	return fmt.Appendf(nil, `{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":%q}]}`, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "signature %d", n)))
}

func (reg *testRegistry) writeAttestation(t *testing.T, subject v1.Descriptor, n int) v1.Hash {
	t.Helper()
	annotations := map[string]string{"dev.cosignproject.cosign/signature": "", "predicateType": predicateType}
	h, err := attach.WriteLegacyAttestation(t.Context(), reg.src, subject.Digest, envelopeJSON(n), annotations)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func findWithAttestations(t *testing.T, reg *testRegistry, digest v1.Hash) attach.Found {
	t.Helper()
	found, err := attach.FindWithAttestations(t.Context(), reg.src, digest)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLegacyAttestations(t *testing.T) {
	for _, prefix := range []string{"", "team_a."} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			reg := newRegistry(t, true)
			reg.src.TagPrefix = prefix
			subject := reg.image(t)
			reg.writeAttestation(t, subject, 1)
			second := reg.writeAttestation(t, subject, 2)
			if again := reg.writeAttestation(t, subject, 2); again != second {
				t.Errorf("the same attestation again made %s, want %s unchanged", again, second)
			}
			reg.writeLegacy(t, subject, 3)
			reg.writeBundle(t, subject, 4)
			var m v1.Manifest
			if err := json.Unmarshal(reg.read(t, "manifests/"+prefix+"sha256-"+subject.Digest.Hex+".att"), &m); err != nil {
				t.Fatal(err)
			}
			if len(m.Layers) != 2 || m.Layers[0].MediaType != envelopeType || m.Layers[1].Annotations["predicateType"] != predicateType {
				t.Errorf("layers %v", m.Layers)
			}
			got, errs := signatures(findWithAttestations(t, reg, subject.Digest))
			want := map[string]attach.Where{"signature 1": attach.AttTag, "signature 2": attach.AttTag, "signature 3": attach.SigTag, "signature 4": attach.Referrers}
			if diff := cmp.Diff(want, got); diff != "" || errs != nil {
				t.Errorf("found (-want +got):\n%s%v", diff, errs)
			}
			if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 2 || errs != nil {
				t.Errorf("without attestations: found %v, %v", got, errs)
			}
		})
	}
}

// Envelopes among the referrers, as cosign attached them for a while, are found too; a bad one hides no good one.
func TestEnvelopesAmongReferrers(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.referrer(t, subject, envelopeType, envelopeType, envelopeJSON(1), `"dev.cosignproject.cosign/signature":""`)
	reg.referrer(t, subject, envelopeType, envelopeType, []byte(`{"payloadType":"x"}`), "")
	got, errs := signatures(find(t, reg.src, subject.Digest))
	if diff := cmp.Diff(map[string]attach.Where{"signature 1": attach.Referrers}, got); diff != "" || len(errs) != 1 || !strings.Contains(errs[0].Error(), "signatures") {
		t.Errorf("found (-want +got):\n%s%v", diff, errs)
	}
}

// What stands at the tag .att and isn't an image is reported.
func TestPoisonedAttTag(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.writeLegacy(t, subject, 1)
	reg.put(t, "sha256-"+subject.Digest.Hex+".att", manifestType, `{"schemaVersion":1}`)
	got, errs := signatures(findWithAttestations(t, reg, subject.Digest))
	if len(got) != 1 || len(errs) != 1 || !strings.Contains(errs[0].Error(), ".att") {
		t.Errorf("found %v, %v", got, errs)
	}
	if _, err := attach.WriteLegacyAttestation(t.Context(), reg.src, subject.Digest, envelopeJSON(1), nil); err == nil || !strings.Contains(err.Error(), "refusing to replace it") {
		t.Errorf("error %v", err)
	}
	if _, err := attach.WriteLegacyAttestation(t.Context(), reg.src, subject.Digest, make([]byte, attach.MaxBundle+1), nil); err == nil {
		t.Error("wrote an envelope over the limit")
	}
	if _, err := attach.WriteLegacyAttestation(t.Context(), reg.src, v1.Hash{}, nil, nil); err == nil {
		t.Error("wrote beside no digest")
	}
}

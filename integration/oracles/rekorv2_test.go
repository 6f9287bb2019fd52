package oracles

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"testing"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tilesread "github.com/sigstore/rekor-tiles/v2/pkg/client/read"
	"github.com/sigstore/rekor-tiles/v2/pkg/client/write"
	tilespb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/rekor-tiles/v2/pkg/types/hashedrekord"
	tilesverify "github.com/sigstore/rekor-tiles/v2/pkg/verify"
	sgsign "github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/tessera/api"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// What the reference signs over the log's v2 API, both verifiers accept; what is tampered with, ours refuses wherever sigstore-go does.
func TestLIB35_ReferenceSignsOverRekorV2(t *testing.T) {
	s := startStack(t)
	artifact := []byte("manifest")
	digest := sha256.Sum256(artifact)
	var samples []sample
	for _, keyless := range []bool{true, false} {
		content, name := sgsign.Content(&sgsign.DSSEData{PayloadType: "application/vnd.in-toto+json", Data: coretest.Statement(digest, "", "")}), "dsse keyless"
		if !keyless {
			content, name = &sgsign.PlainData{Data: artifact}, "message keyed"
		}
		text, key := s.referenceSigned(t, content, keyless, 2)
		one := sample{name: name, bundle: text, root: s.root, digest: verify.SHA256(digest)}
		if !keyless {
			one.key = key.GetPublicKey()
		}
		samples = append(samples, one)
	}
	tamperAll(t, samples)
}

// log2 is the stack's v2 log as the trusted root describes it.
func (s realStack) log2(tb testing.TB) trust.Log {
	tb.Helper()
	root, err := trust.Parse("own", s.root)
	if err != nil {
		tb.Fatal(err)
	}
	for _, log := range root.Logs {
		if _, ok := log.Key.(ed25519.PublicKey); ok {
			return log
		}
	}
	tb.Fatal("no Ed25519 log in the trusted root")
	return trust.Log{}
}

// rekor-tiles' own clients write to our log and read all of it: each leaf is a v2 body that their types decode without a remainder and encode to the same bytes.
func TestRekorTilesClients(t *testing.T) {
	s := startStack(t)
	log := s.log2(t)
	base, err := url.Parse(log.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadDefaultVerifier(log.Key)
	if err != nil {
		t.Fatal(err)
	}
	noteVerifier, err := note.NewNoteVerifier(base.Hostname(), verifier)
	if err != nil {
		t.Fatal(err)
	}
	if _, id, err := note.KeyHash(base.Hostname(), log.Key); err != nil || !bytes.Equal(id, log.ID[:]) {
		t.Errorf("the trusted root has log %x, rekor-tiles says %x, %v", log.ID, id, err)
	}
	writer, err := write.NewWriter(log.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 52 // 6 entries each: more than one tile
	for round := range rounds {
		for _, algorithm := range []keys.Algorithm{keys.P256, keys.P384, keys.P521} {
			for _, certified := range []bool{false, true} {
				if round > 0 && algorithm == keys.P521 {
					algorithm = keys.P256 // its signatures are slow
				}
				entry, err := writer.Add(t.Context(), request(t, algorithm, certified))
				if err != nil {
					t.Fatal(err)
				}
				if err := tilesverify.VerifyLogEntry(entry, noteVerifier); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(entry.GetLogId().GetKeyId(), log.ID[:]) || entry.GetInclusionPromise() != nil || entry.GetIntegratedTime() != 0 {
					t.Errorf("entry %v", entry)
				}
			}
		}
	}
	for _, below := range []string{"", "/api/v2"} {
		reader, err := tilesread.NewReader(log.BaseURL+below, base.Hostname(), verifier)
		if err != nil {
			t.Fatal(err)
		}
		cp, _, err := reader.ReadCheckpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if cp.Size != rounds*6 {
			t.Errorf("%q: %d leaves, want %d", below, cp.Size, rounds*6)
		}
		for i := uint64(0); i*256 < cp.Size; i++ {
			width := uint8(min(cp.Size-i*256, 256) % 256)
			text, err := reader.ReadEntryBundle(t.Context(), i, width)
			if err != nil {
				t.Fatal(err)
			}
			hashes, err := reader.ReadTile(t.Context(), 0, i, width)
			if err != nil {
				t.Fatal(err)
			}
			var entries api.EntryBundle
			if err := entries.UnmarshalText(text); err != nil {
				t.Fatal(err)
			}
			for j, leaf := range entries.Entries {
				checkLeaf(t, leaf, hashes[j*32:][:32])
			}
		}
	}
}

// checkLeaf decodes a leaf strictly with rekor-tiles' types, and rebuilds it.
func checkLeaf(t *testing.T, leaf, hash []byte) {
	t.Helper()
	var entry tilespb.Entry
	if err := protojson.Unmarshal(leaf, &entry); err != nil {
		t.Fatalf("%v: %s", err, leaf)
	}
	in := entry.GetSpec().GetHashedRekordV002()
	if entry.GetKind() != "hashedrekord" || entry.GetApiVersion() != "0.0.2" || in == nil {
		t.Fatalf("not a v2 body: %s", leaf)
	}
	rebuilt, err := hashedrekord.ToEntryHash(in.GetData().GetDigest(), in.GetSignature())
	if err != nil {
		t.Fatal(err)
	}
	if own := tlog.LeafHash(leaf); !bytes.Equal(rebuilt, own[:]) || !bytes.Equal(rebuilt, hash) {
		t.Errorf("the leaf's hash is %x, rebuilt %x, in the tile %x: %s", own, rebuilt, hash, leaf)
	}
}

// request is one that is new, by a key or a certificate with it.
func request(t *testing.T, algorithm keys.Algorithm, certified bool) *tilespb.HashedRekordRequestV002 {
	t.Helper()
	key, err := keys.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	details, err := signature.GetDefaultAlgorithmDetails(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := make([]byte, details.GetHashType().Size())
	if _, err := rand.Read(digest); err != nil {
		t.Fatal(err)
	}
	sig, err := key.Sign(rand.Reader, digest, details.GetHashType())
	if err != nil {
		t.Fatal(err)
	}
	return &tilespb.HashedRekordRequestV002{Digest: digest, Signature: &tilespb.Signature{Content: sig, Verifier: tilesVerifier(t, key, details.GetSignatureAlgorithm(), certified)}}
}

func tilesVerifier(t *testing.T, key crypto.Signer, details commonpb.PublicKeyDetails, certified bool) *tilespb.Verifier {
	t.Helper()
	if certified {
		template := &x509.Certificate{SerialNumber: big.NewInt(1)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return &tilespb.Verifier{KeyDetails: details, Verifier: &tilespb.Verifier_X509Certificate{X509Certificate: &commonpb.X509Certificate{RawBytes: der}}}
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &tilespb.Verifier{KeyDetails: details, Verifier: &tilespb.Verifier_PublicKey{PublicKey: &tilespb.PublicKey{RawBytes: der}}}
}

// What clients of 2025 send for an envelope becomes an entry that the reference accepts in a bundle, as we do.
func TestRekorV2EnvelopesOfOldClients(t *testing.T) {
	s := startStack(t)
	key := coretest.NewKey(t)
	artifact := sha256.Sum256([]byte("manifest"))
	const payloadType = "application/vnd.in-toto+json"
	payload := coretest.Statement(artifact, "", "")
	sig, err := keys.Sign(key, bundle.PAE(payloadType, payload))
	if err != nil {
		t.Fatal(err)
	}
	envelope := &dssepb.Envelope{PayloadType: payloadType, Payload: payload, Signatures: []*dssepb.Signature{{Sig: sig}}}
	envelopeJSON, err := protojson.Marshal(envelope)
	if err != nil {
		t.Fatal(err)
	}
	verifierJSON, err := protojson.Marshal(tilesVerifier(t, key, commonpb.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, false))
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Appendf(nil, `{"dsseRequestV002":{"envelope":%s,"verifiers":[%s]}}`, envelopeJSON, verifierJSON)
	resp, err := http.Post(s.url+"/api/v2/log/entries", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %v: %s", resp.StatusCode, err, text)
	}
	var entry rekorpb.TransparencyLogEntry
	if err := protojson.Unmarshal(text, &entry); err != nil {
		t.Fatal(err)
	}
	signed, err := protojson.Marshal(&bundlepb.Bundle{
		MediaType: bundle.MediaTypeV03,
		VerificationMaterial: &bundlepb.VerificationMaterial{
			Content:     &bundlepb.VerificationMaterial_PublicKey{PublicKey: &commonpb.PublicKeyIdentifier{Hint: "key"}},
			TlogEntries: []*rekorpb.TransparencyLogEntry{&entry},
		},
		Content: &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: envelope},
	})
	if err != nil {
		t.Fatal(err)
	}
	one := sample{name: "dsse of an old client", bundle: signed, root: s.root, digest: verify.SHA256(artifact), key: key.Public()}
	for name, prepare := range map[string]func(sample) (judge, error){"touchmark": ours, "sigstore-go": theirs} {
		accepts, err := prepare(one)
		if err != nil {
			t.Fatal(err)
		}
		if err := accepts(signed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

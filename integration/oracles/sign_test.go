package oracles

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	sgroot "github.com/sigstore/sigstore-go/pkg/root"
	sgsign "github.com/sigstore/sigstore-go/pkg/sign"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
)

// A program with sigstore-go needs the signing config and the trusted root, and nothing else. It verifies what it signed itself and what core/sign signed, and
// refuses another signer, another issuer, another file and another trust root.
func TestSigstoreGoWithTheSigningConfig(t *testing.T) {
	s, stranger := startStack(t), startStack(t)
	content := []byte("content")
	statement := coretest.Statement(sha256.Sum256(content), "https://slsa.dev/provenance/v1", "")
	signing, err := sign.FetchSigningConfig(t.Context(), nil, s.url, false)
	if err != nil {
		t.Fatal(err)
	}
	root, err := trust.Parse("root", s.root)
	if err != nil {
		t.Fatal(err)
	}
	config := sign.Config{Signing: signing, Root: root, Token: token.DevIssuer{Server: s.url, Subject: "alice@acme.example"}}
	oursBlob, err := sign.Blob(t.Context(), config, content)
	if err != nil {
		t.Fatal(err)
	}
	oursStatement, err := sign.Statement(t.Context(), config, statement)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"sigstore-go, message": s.signedByConfig(t, &sgsign.PlainData{Data: content}),
		"sigstore-go, dsse":    s.signedByConfig(t, &sgsign.DSSEData{PayloadType: "application/vnd.in-toto+json", Data: statement}),
		"core/sign, message":   oursBlob,
		"core/sign, dsse":      oursStatement,
	} {
		for _, tt := range []struct {
			what, content, identity, issuer string
			root                            []byte
			want                            string // in the error; empty for none
		}{
			{"as signed", "content", "alice@acme.example", s.url, s.root, ""},
			{"another signer", "content", "bob@acme.example", s.url, s.root, "bob@acme.example"},
			{"another issuer", "content", "alice@acme.example", stranger.url, s.root, stranger.url},
			{"another file", "Content", "alice@acme.example", s.url, s.root, "failed to verify signature"},
			{"another root", "content", "alice@acme.example", s.url, stranger.root, "failed to verify"},
		} {
			err := verifyBySigstoreGo(t, text, tt.root, tt.content, tt.identity, tt.issuer)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s, %s: error %v, want one with %q", name, tt.what, err, tt.want)
			}
		}
	}
}

// signedByConfig signs as sigstore-go's example does: with the services that the server's signing config names.
func (s realStack) signedByConfig(t *testing.T, content sgsign.Content) []byte {
	t.Helper()
	resp, err := http.Get(s.url + "/signing_config.v0.2.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	config, err := sgroot.NewSigningConfigFromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := sgroot.NewTrustedRootFromJSON(s.root)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca, err := sgroot.SelectService(config.FulcioCertificateAuthorityURLs(), sgsign.FulcioAPIVersions, now)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := sgroot.SelectServices(config.RekorLogURLs(), config.RekorLogURLsConfig(), sgsign.RekorAPIVersions, now)
	if err != nil {
		t.Fatal(err)
	}
	tsas, err := sgroot.SelectServices(config.TimestampAuthorityURLs(), config.TimestampAuthorityURLsConfig(), sgsign.TimestampAuthorityAPIVersions, now)
	if err != nil {
		t.Fatal(err)
	}
	opts := sgsign.BundleOptions{
		Context: t.Context(), TrustedRoot: trusted,
		CertificateProvider:        sgsign.NewFulcio(&sgsign.FulcioOptions{BaseURL: ca.URL}),
		CertificateProviderOptions: &sgsign.CertificateProviderOptions{IDToken: s.identityToken(t)},
	}
	for _, l := range logs {
		opts.TransparencyLogs = append(opts.TransparencyLogs, sgsign.NewRekor(&sgsign.RekorOptions{BaseURL: l.URL, Version: l.MajorAPIVersion}))
	}
	for _, a := range tsas {
		opts.TimestampAuthorities = append(opts.TimestampAuthorities, sgsign.NewTimestampAuthority(&sgsign.TimestampAuthorityOptions{URL: a.URL}))
	}
	key, err := sgsign.NewEphemeralKeypair(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := sgsign.Bundle(content, key, opts)
	if err != nil {
		t.Fatalf("sigstore-go signing with our stack: %v", err)
	}
	if text, err = protojson.Marshal(signed); err != nil {
		t.Fatal(err)
	}
	return text
}

// verifyBySigstoreGo demands all that sigstore-go can: a certificate timestamp, a log entry, and a timestamp of the authority.
func verifyBySigstoreGo(t *testing.T, text, root []byte, content, identity, issuer string) error {
	t.Helper()
	trusted, err := sgroot.NewTrustedRootFromJSON(root)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := sgverify.NewVerifier(trusted, sgverify.WithSignedCertificateTimestamps(1), sgverify.WithTransparencyLog(1), sgverify.WithSignedTimestamps(1))
	if err != nil {
		t.Fatal(err)
	}
	var b sgbundle.Bundle
	if err := b.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	id, err := sgverify.NewShortCertificateIdentity(issuer, "", identity, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifier.Verify(&b, sgverify.NewPolicy(sgverify.WithArtifact(bytes.NewReader([]byte(content))), sgverify.WithCertificateIdentity(id)))
	return err
}

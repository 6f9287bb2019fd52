package oracles

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/predicate"
)

// exhibits are images with all kinds of evidence beside them, in one registry, for policies to be held against.
type exhibits struct {
	host          string
	test, second  *coretest.Sigstore
	rekor         string // answers nobody: policy-controller asks the log about what came without an entry
	keys          map[string]crypto.Signer
	images        map[string]name.Digest
	names         []string // of images, in the order in which they were made
	replacePolicy *strings.Replacer
}

// people of the exhibits.
var (
	alice   = coretest.Email("alice@acme.example")
	bob     = coretest.Email("bob@acme.example")
	mallory = coretest.Email("mallory@evil.example")
	// lookalike's address holds alice's.
	lookalike = coretest.Email("alice@acme.example.evil.example")
	// elsewhere is alice, as another issuer knows her.
	elsewhere = identity.Identity{SAN: identity.SAN{Kind: identity.Email, Value: "alice@acme.example"}, Issuer: "https://login.evil.example"}
	machine   = identity.Identity{SAN: identity.SAN{Kind: identity.URI, Value: "https://ci.acme.example/app/release.yml@refs/heads/main"}, Issuer: coretest.Issuer}
)

func newExhibits(tb testing.TB) *exhibits {
	tb.Helper()
	rekor := httptest.NewServer(http.NotFoundHandler())
	tb.Cleanup(rekor.Close)
	x := &exhibits{
		host: coretest.NewRegistry(tb, true), test: coretest.New(tb), second: coretest.New(tb), rekor: rekor.URL,
		keys: exhibitKeys(tb), images: make(map[string]name.Digest),
	}
	words := []string{"REGISTRY", x.host, "ISSUER", coretest.Issuer, "REKOR", x.rekor}
	for name, key := range x.keys {
		words = append(words, "KEY-"+name+"!", quotedPEM(tb, key.Public()))
	}
	x.replacePolicy = strings.NewReplacer(words...)
	x.fill(tb)
	return x
}

func exhibitKeys(tb testing.TB) map[string]crypto.Signer {
	tb.Helper()
	keys := make(map[string]crypto.Signer)
	var err error
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "other": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		if keys[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			tb.Fatal(err)
		}
	}
	if keys["rsa"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		tb.Fatal(err)
	}
	if _, keys["ed25519"], err = ed25519.GenerateKey(rand.Reader); err != nil {
		tb.Fatal(err)
	}
	return keys
}

// fill pushes the images. Each is named for what lies beside it.
func (x *exhibits) fill(tb testing.TB) {
	tb.Helper()
	signedBy := func(id identity.Identity) coretest.SignOptions {
		return coretest.SignOptions{Identity: id, Content: coretest.SimpleSigning}
	}
	attestedBy := func(id identity.Identity, predicateType, statement string) coretest.SignOptions {
		return coretest.SignOptions{Identity: id, Content: coretest.LegacyAttestation, PredicateType: predicateType, Predicate: statement}
	}
	keyed := func(key string, content coretest.Content) coretest.SignOptions {
		return coretest.SignOptions{Key: x.keys[key], Content: content, WithoutTimestamp: true}
	}
	unstamped := func(o coretest.SignOptions) coretest.SignOptions { o.WithoutTimestamp = true; return o }
	unlogged := func(o coretest.SignOptions) coretest.SignOptions { o.WithoutLog = true; return o }
	unpromised := func(o coretest.SignOptions) coretest.SignOptions {
		o.Certificate = append(o.Certificate, coretest.PromisedBy())
		return o
	}

	x.image(tb, "unsigned")
	x.image(tb, "alice", signedBy(alice))
	x.image(tb, "alice-logged", unstamped(signedBy(alice)))
	x.image(tb, "alice-stamped", unlogged(signedBy(alice)))
	x.image(tb, "alice-without-any-time", unlogged(unstamped(signedBy(alice))))
	x.image(tb, "alice-without-sct", unpromised(signedBy(alice)))
	x.image(tb, "bob", signedBy(bob))
	x.image(tb, "mallory", signedBy(mallory))
	x.image(tb, "mallory-then-alice", signedBy(mallory), signedBy(alice))
	x.image(tb, "alice-and-bob", signedBy(alice), signedBy(bob))
	x.image(tb, "lookalike", signedBy(lookalike))
	x.image(tb, "elsewhere", signedBy(elsewhere))
	x.image(tb, "machine", signedBy(machine))

	x.image(tb, "p256", unlogged(keyed("p256", coretest.SimpleSigning)))
	x.image(tb, "p256-logged", keyed("p256", coretest.SimpleSigning))
	x.image(tb, "p256-stamped", unlogged(coretest.SignOptions{Key: x.keys["p256"], Content: coretest.SimpleSigning}))
	x.image(tb, "other", unlogged(keyed("other", coretest.SimpleSigning)))
	x.image(tb, "rsa", unlogged(keyed("rsa", coretest.SimpleSigning)))
	for name, hash := range map[string]crypto.Hash{"sha224": crypto.SHA224, "sha512": crypto.SHA512} {
		x.attach(tb, x.image(tb, "p256-"+name), x.signedWith(tb, x.image(tb, "p256-"+name), "p256", hash))
	}
	x.attach(tb, x.image(tb, "p384-sha256"), x.signedWith(tb, x.image(tb, "p384-sha256"), "p384", crypto.SHA256))
	x.attach(tb, x.image(tb, "p384-sha384"), x.signedWith(tb, x.image(tb, "p384-sha384"), "p384", crypto.SHA384))
	x.attach(tb, x.image(tb, "p521-sha512"), x.signedWith(tb, x.image(tb, "p521-sha512"), "p521", crypto.SHA512))
	x.attach(tb, x.image(tb, "ed25519"), x.signedWith(tb, x.image(tb, "ed25519"), "ed25519", 0))

	x.image(tb, "scan-clean", attestedBy(alice, predicate.Vuln, `{"critical":0}`))
	x.image(tb, "scan-critical", attestedBy(alice, predicate.Vuln, `{"critical":3}`))
	x.image(tb, "scans-of-both-kinds", attestedBy(alice, predicate.Vuln, `{"critical":3}`), attestedBy(alice, predicate.Vuln, `{"critical":0}`))
	x.image(tb, "scan-by-mallory", attestedBy(mallory, predicate.Vuln, `{"critical":0}`))
	x.image(tb, "scan-by-key", func() coretest.SignOptions {
		o := unlogged(keyed("p256", coretest.LegacyAttestation))
		o.PredicateType, o.Predicate = predicate.Vuln, `{"critical":0}`
		return o
	}())
	x.image(tb, "provenance", attestedBy(alice, predicate.SLSA1, `{"buildType":"x"}`))
	x.image(tb, "provenance-and-scan", attestedBy(alice, predicate.SLSA1, `{"buildType":"x"}`), attestedBy(alice, predicate.Vuln, `{"critical":0}`))
	x.image(tb, "signed-and-scanned", signedBy(alice), attestedBy(alice, predicate.Vuln, `{"critical":0}`))

	x.image(tb, "bundle", coretest.SignOptions{Identity: alice})
	x.image(tb, "bundle-by-mallory", coretest.SignOptions{Identity: mallory})
	x.image(tb, "bundle-by-key", coretest.SignOptions{Key: x.keys["p256"], WithoutTimestamp: true})
	x.image(tb, "bundle-scan", coretest.SignOptions{Identity: alice, PredicateType: predicate.Vuln, Predicate: `{"critical":0}`})
	x.image(tb, "bundle-rekor-v2", coretest.SignOptions{Identity: alice, Log: x.test.V2})

	x.attach(tb, x.image(tb, "alice-of-second"), x.second.SignDigest(tb, digestOf(tb, x.image(tb, "alice-of-second")), signedBy(alice)))
	// What alice signed is another image.
	x.attach(tb, x.image(tb, "replayed"), x.test.SignDigest(tb, digestOf(tb, x.images["unsigned"]), signedBy(alice)))
	x.attach(tb, x.image(tb, "scan-replayed"), x.test.SignDigest(tb, digestOf(tb, x.images["unsigned"]), attestedBy(alice, predicate.Vuln, `{"critical":0}`)))
	// Evidence in another repository, and under another tag.
	x.attachTo(tb, x.host+"/evidence", "", x.image(tb, "in-another-repository"), x.test.SignDigest(tb, digestOf(tb, x.image(tb, "in-another-repository")), signedBy(alice)))
	x.attachTo(tb, "", "acme-", x.image(tb, "under-another-tag"), x.test.SignDigest(tb, digestOf(tb, x.image(tb, "under-another-tag")), signedBy(alice)))
	// A certificate that is valid today.
	x.test.Clock.Set(time.Now().Add(-time.Minute))
	x.image(tb, "alice-today-without-any-time", unlogged(unstamped(signedBy(alice))))
	x.test.Clock.Set(coretest.Start)

	index := coretest.Index(tb, 500)
	x.images["index"] = coretest.Push(tb, x.host+"/acme/index:1", index)
	x.names = append(x.names, "index")
	x.attach(tb, x.images["index"], x.test.SignDigest(tb, digestOf(tb, x.images["index"]), signedBy(alice)))
}

// image pushes an image, once, and attaches what the private Sigstore signs.
func (x *exhibits) image(tb testing.TB, name string, signatures ...coretest.SignOptions) name.Digest {
	tb.Helper()
	digest, ok := x.images[name]
	if !ok {
		digest = coretest.Push(tb, x.host+"/acme/"+name+":1", coretest.Image(tb, int64(len(x.names))))
		x.images[name], x.names = digest, append(x.names, name)
	}
	for _, o := range signatures {
		x.attach(tb, digest, x.test.SignDigest(tb, digestOf(tb, digest), o))
	}
	return digest
}

// signedWith is simple signing by a key alone over some hash, 0 for a key that hashes itself.
func (x *exhibits) signedWith(tb testing.TB, image name.Digest, key string, hash crypto.Hash) *bundle.Evidence {
	tb.Helper()
	text, err := bundle.SimpleSigningPayload(image.Context().Name(), image.DigestStr())
	if err != nil {
		tb.Fatal(err)
	}
	signed := text
	if hash != 0 {
		h := hash.New()
		h.Write(text)
		signed = h.Sum(nil)
	}
	signature, err := x.keys[key].Sign(rand.Reader, signed, hash)
	if err != nil {
		tb.Fatal(err)
	}
	return &bundle.Evidence{Form: bundle.FormLegacy, MediaType: bundle.MediaTypeSimpleSigning, Payload: &bundle.Payload{Text: text, Signature: signature}}
}

func (x *exhibits) attach(tb testing.TB, image name.Digest, e *bundle.Evidence) {
	tb.Helper()
	x.attachTo(tb, "", "", image, e)
}

// attachTo writes evidence in the form that it has, beside the image or into another repository.
func (x *exhibits) attachTo(tb testing.TB, repository, tagPrefix string, image name.Digest, e *bundle.Evidence) {
	tb.Helper()
	where := image.Context()
	if repository != "" {
		var err error
		if where, err = name.NewRepository(repository); err != nil {
			tb.Fatal(err)
		}
	}
	source := attach.Source{Repository: where, TagPrefix: tagPrefix}
	if err := writeBeside(tb, source, image, e); err != nil {
		tb.Fatal(err)
	}
}

func writeBeside(tb testing.TB, source attach.Source, image name.Digest, e *bundle.Evidence) error {
	tb.Helper()
	digest, err := v1.NewHash(image.DigestStr())
	if err != nil {
		return err
	}
	switch e.MediaType {
	case bundle.MediaTypeSimpleSigning:
		annotations, err := bundle.LegacyAnnotations(e)
		if err != nil {
			return err
		}
		_, err = attach.WriteLegacy(tb.Context(), source, digest, e.Payload.Text, annotations)
		return err
	case bundle.MediaTypeDSSE:
		annotations, err := bundle.LegacyAttestationAnnotations(e)
		if err != nil {
			return err
		}
		_, err = attach.WriteLegacyAttestation(tb.Context(), source, digest, e.Envelope.Text, annotations)
		return err
	}
	text, err := bundle.Marshal(e)
	if err != nil {
		return err
	}
	subject, err := remote.Head(image)
	if err != nil {
		return err
	}
	_, err = attach.WriteBundle(tb.Context(), source, *subject, text, "", coretest.Start)
	return err
}

// trustRoots are the documents of the trust roots: test, second, and modern, which is test's with its log of Rekor v2. The others' logs answer nobody.
func (x *exhibits) trustRoots(tb testing.TB) []string {
	tb.Helper()
	return []string{
		trustRoot(tb, "test", x.test, x.rekor, x.test.V1.Key), trustRoot(tb, "second", x.second, x.rekor, x.second.V1.Key),
		trustRoot(tb, "modern", x.test, x.test.V2.BaseURL, x.test.V2.Key),
	}
}

func trustRoot(tb testing.TB, name string, s *coretest.Sigstore, logURL string, log crypto.Signer) string {
	tb.Helper()
	return fmt.Sprintf(`apiVersion: policy.sigstore.dev/v1alpha1
kind: TrustRoot
metadata: {name: %s}
spec:
  sigstoreKeys:
    certificateAuthorities: [{subject: {organization: touchmark, commonName: ca}, uri: "https://ca.touchmark.example", certChain: %s}]
    timestampAuthorities: [{subject: {organization: touchmark, commonName: tsa}, uri: "https://tsa.touchmark.example", certChain: %s}]
    tLogs: [{baseURL: %q, hashAlgorithm: sha-256, publicKey: %s}]
    ctLogs: [{baseURL: "https://ct.touchmark.example", hashAlgorithm: sha-256, publicKey: %s}]
`, name, chain(s.CA.Intermediate, s.CA.Root), chain(s.TSA.Leaf, s.TSA.Intermediate, s.TSA.Root),
		logURL, base64.StdEncoding.EncodeToString(publicPEM(tb, log.Public())), base64.StdEncoding.EncodeToString(publicPEM(tb, s.CTLog.Key.Public())))
}

func chain(certificates ...*x509.Certificate) string {
	return base64.StdEncoding.EncodeToString(pemChain(certificates...))
}

func pemChain(certificates ...*x509.Certificate) (text []byte) {
	for _, c := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

func publicPEM(tb testing.TB, pub crypto.PublicKey) []byte {
	tb.Helper()
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

// quotedPEM is a public key as a YAML string.
func quotedPEM(tb testing.TB, pub crypto.PublicKey) string {
	tb.Helper()
	text, err := json.Marshal(string(publicPEM(tb, pub)))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func digestOf(tb testing.TB, image name.Digest) [32]byte {
	tb.Helper()
	sum, err := hex.DecodeString(strings.TrimPrefix(image.DigestStr(), "sha256:"))
	if err != nil || len(sum) != 32 {
		tb.Fatalf("digest %s", image.DigestStr())
	}
	return [32]byte(sum)
}

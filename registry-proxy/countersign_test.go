package registryproxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/countersign"
)

// countersigning is a proxy with a key, under one more name.
func countersigning(t *testing.T) (*lab, *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	c := countersign.Config{Form: countersign.Sigstore, Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "ca.pem")}
	if _, err := countersign.Generate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	key, err := countersign.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(c.Public)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return newLab(t, withConfig(func(c *Config) { c.Countersigner, c.CountersignNames = key, []string{"pull.acme.example/hub"} })), pool
}

func fetched(l *lab, path string) (int, []byte) {
	r := l.get(path)
	return r.StatusCode, r.body
}

// signatures are the names under which the proxy vouches for an image at its tag, and how many other signatures there are.
// Each of ours is verified as a client with policy.json does it.
func (l *lab) signatures(repository string, image v1.Hash, pool *x509.CertPool) (names []string, others int) {
	l.t.Helper()
	status, body := fetched(l, "/v2/"+repository+"/manifests/sha256-"+image.Hex+".sig")
	if status == http.StatusNotFound {
		return nil, 0
	}
	var m signatureManifest
	if err := json.Unmarshal(body, &m); err != nil || status != http.StatusOK {
		l.t.Fatalf("%d %s: %v", status, body, err)
	}
	for _, layer := range m.Layers {
		certificate := layer.Annotations["dev.sigstore.cosign/certificate"]
		if certificate == "" {
			others++
			continue
		}
		status, payload := fetched(l, "/v2/"+repository+"/blobs/"+layer.Digest.String())
		if status != http.StatusOK || hashOf(payload) != layer.Digest || int64(len(payload)) != layer.Size {
			l.t.Fatalf("payload: %d %s", status, payload)
		}
		block, _ := pem.Decode([]byte(certificate))
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			l.t.Fatal(err)
		}
		now := l.clock.Now()
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}); err != nil {
			l.t.Errorf("certificate: %v", err)
		}
		if age := leaf.NotAfter.Sub(now); age > countersign.MaxValidity || now.Sub(leaf.NotBefore) < 30*time.Second {
			l.t.Errorf("valid from %v to %v, now is %v", leaf.NotBefore, leaf.NotAfter, now)
		}
		signature, err := base64.StdEncoding.DecodeString(layer.Annotations["dev.cosignproject.cosign/signature"])
		digest := sha256.Sum256(payload)
		if err != nil || !ecdsa.VerifyASN1(leaf.PublicKey.(*ecdsa.PublicKey), digest[:], signature) {
			l.t.Errorf("the signature does not verify: %v", err)
		}
		if !bytes.Contains(payload, []byte(image.String())) {
			l.t.Errorf("payload %s is about another image", payload)
		}
		_, rest, _ := strings.Cut(string(payload), `"docker-reference":"`)
		name, _, _ := strings.Cut(rest, `"`)
		names = append(names, name)
	}
	return names, others
}

// pushSignature puts a signature of somebody's beside an image.
func (l *lab) pushSignature(repository string, image v1.Hash) {
	l.t.Helper()
	sig, err := mutate.Append(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), mutate.Addendum{
		Layer: static.NewLayer([]byte(`{"critical":{}}`), "application/vnd.dev.cosign.simplesigning.v1+json"), Annotations: map[string]string{"dev.cosignproject.cosign/signature": "x"},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.push(repository+":sha256-"+image.Hex+".sig", sig)
}

func TestCountersignatures(t *testing.T) {
	l, pool := countersigning(t)
	signed, unsigned := digestOf(t, l.pushImage("acme/app:1")), digestOf(t, l.pushImage("acme/app:2"))
	l.admitter.sign(signed)
	want := "registry.acme.example/acme/app pull.acme.example/hub/acme/app"
	if names, others := l.signatures("acme/app", signed, pool); strings.Join(names, " ") != want || others != 0 {
		t.Errorf("admitted: %q and %d others", names, others)
	}
	if names, others := l.signatures("acme/app", unsigned, pool); len(names)+others != 0 {
		t.Errorf("refused: %q and %d others", names, others)
	}
	if names, _ := l.signatures("acme/other", signed, pool); len(names) != 0 {
		t.Errorf("in a repository that does not have it: %q", names)
	}

	t.Run("beside the registry's own", func(t *testing.T) {
		l.pushSignature("acme/app", signed)
		l.pushSignature("acme/app", unsigned)
		l.clock.Advance(countersignFresh)
		if names, others := l.signatures("acme/app", signed, pool); strings.Join(names, " ") != want || others != 1 {
			t.Errorf("admitted: %q and %d others", names, others)
		}
		if names, others := l.signatures("acme/app", unsigned, pool); len(names) != 0 || others != 1 {
			t.Errorf("refused: %q and %d others", names, others)
		}
	})
	t.Run("a client that read the manifest before another was made", func(t *testing.T) {
		_, body := fetched(l, "/v2/acme/app/manifests/sha256-"+signed.Hex+".sig")
		var m signatureManifest
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		l.clock.Advance(2 * countersignFresh)
		l.signatures("acme/app", signed, pool)
		for _, part := range append(m.Layers, m.Config) {
			if status, body := fetched(l, "/v2/acme/app/blobs/"+part.Digest.String()); status != http.StatusOK || hashOf(body) != part.Digest {
				t.Errorf("%s: %d %s", part.MediaType, status, body)
			}
		}
		if status, again := fetched(l, "/v2/acme/app/manifests/"+hashOf(body).String()); status != http.StatusOK || !bytes.Equal(body, again) {
			t.Errorf("by its digest: %d", status)
		}
		if status, _ := fetched(l, "/v2/acme/other/manifests/"+hashOf(body).String()); status == http.StatusOK {
			t.Error("it is in another repository, too")
		}
	})
	t.Run("no longer admitted", func(t *testing.T) {
		l.admitter.revoke(signed)
		if names, _ := l.signatures("acme/app", signed, pool); len(names) != 0 {
			t.Errorf("%q", names)
		}
		l.admitter.sign(signed)
	})
	t.Run("an outage", func(t *testing.T) {
		l.clock.Advance(time.Hour)
		l.setLie(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
		if status, body := fetched(l, "/v2/acme/app/manifests/sha256-"+signed.Hex+".sig"); status != http.StatusServiceUnavailable {
			t.Errorf("%d %s", status, body)
		}
	})
}

// Without a key nothing is added.
func TestNothingIsCountersignedUnasked(t *testing.T) {
	l := newLab(t)
	signed := digestOf(t, l.pushImage("acme/app:1"))
	l.admitter.sign(signed)
	if names, others := l.signatures("acme/app", signed, x509.NewCertPool()); len(names)+others != 0 {
		t.Errorf("%q and %d others", names, others)
	}
}

// counted counts what is signed.
type counted struct {
	Countersigner
	n atomic.Int64
}

func (c *counted) Attach(repository, digest string, now time.Time) (countersign.Attachment, error) {
	c.n.Add(1)
	return c.Countersigner.Attach(repository, digest, now)
}

// PX-28: however many ask at once, the key is used once for each name.
func TestPX28_OneCountersignature(t *testing.T) {
	l, _ := countersigning(t)
	signed := digestOf(t, l.pushImage("acme/app:1"))
	l.admitter.sign(signed)
	key := &counted{Countersigner: l.proxy.countersigned.key}
	l.proxy.countersigned.key = key
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { l.want(l.get("/v2/acme/app/manifests/sha256-"+signed.Hex+".sig"), http.StatusOK, "") })
	}
	group.Wait()
	if n := key.n.Load(); n != 2 {
		t.Errorf("%d signatures were made", n)
	}
}

// PX-27: whoever may push much beside an image has the proxy keep no more of it than it means to.
func TestPX27_CountersignaturesAreBounded(t *testing.T) {
	l, _ := countersigning(t)
	s := l.proxy.countersigned
	large := bytes.Repeat([]byte("x"), 4<<20)
	for i := range 100 {
		m := &manifest{bytes: large, digest: hashOf([]byte{byte(i)})}
		s.keep("app@", "app@"+strconv.Itoa(i), made{manifest: m, at: l.clock.Now()}, [][]byte{{byte(i)}})
		l.clock.Advance(time.Second)
		size := 0
		for _, part := range s.parts {
			size += part.cost()
		}
		if size != s.size || size > maxCountersigned+5<<20 || len(s.made) > len(s.parts) {
			t.Fatalf("%d bytes are kept, counted as %d, and %d manifests", size, s.size, len(s.made))
		}
	}
}

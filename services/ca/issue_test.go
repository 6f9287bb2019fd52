package ca

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/sct"
)

func TestCA15_CertificateLogMisbehaves(t *testing.T) {
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	w := newWorld(t, nil)
	logged := w.log.entries
	sign := func(key *ecdsa.PrivateKey, tbs []byte) sct.SCT {
		return must(sct.Sign(key, 1, sct.LeafIndexExtension(0), w.ca.issuerHash, tbs))
	}
	last := func() []byte {
		return must(sct.PrecertTBS(must(x509.ParseCertificate(w.log.entries[len(w.log.entries)-1])).RawTBSCertificate))
	}
	for name, spoil := range map[string]func(sct.SCT, error) (sct.SCT, error){
		"down":                  func(sct.SCT, error) (sct.SCT, error) { return sct.SCT{}, errors.New("connection refused") },
		"empty timestamp":       func(sct.SCT, error) (sct.SCT, error) { return sct.SCT{}, nil },
		"signature broken":      func(s sct.SCT, _ error) (sct.SCT, error) { s.Signature[8] ^= 1; return s, nil },
		"time changed":          func(s sct.SCT, _ error) (sct.SCT, error) { s.Timestamp++; return s, nil },
		"index changed":         func(s sct.SCT, _ error) (sct.SCT, error) { s.Extensions = sct.LeafIndexExtension(9); return s, nil },
		"by another log":        func(sct.SCT, error) (sct.SCT, error) { return sign(other, last()), nil },
		"ours, named another's": func(s sct.SCT, _ error) (sct.SCT, error) { s.LogID[0] ^= 1; return s, nil },
		"another's, named as ours": func(s sct.SCT, _ error) (sct.SCT, error) {
			forged := sign(other, last())
			forged.LogID = s.LogID
			return forged, nil
		},
		"for another certificate": func(sct.SCT, error) (sct.SCT, error) { return sign(ctKey(), append(last(), 0)), nil },
	} {
		w.log.spoil = spoil
		w.isError(name, w.post("/api/v2/signingCert", w.request(w.token(nil)), nil), http.StatusServiceUnavailable)
	}
	w.log.spoil = nil
	w.issues("well again", w.request(w.token(nil)))
	if len(w.log.entries) == len(logged) {
		t.Error("nothing was logged")
	}
}

// A log that does not answer holds a request no longer than its client waits.
func TestCA15_CertificateLogSlow(t *testing.T) {
	w := newWorld(t, nil)
	w.log.block = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	request, err := parseV2(w.request(w.token(nil)), "")
	if err != nil {
		t.Fatal(err)
	}
	if certificate, err := w.ca.issue(ctx, request); err == nil || certificate != nil {
		t.Errorf("certificate %v, error %v", certificate, err)
	}
}

func TestCA16_SelfCheck(t *testing.T) {
	w := newWorld(t, nil)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	who := identity.Identity{SAN: identity.SAN{Kind: identity.Email, Value: alice}, Issuer: testIssuer}
	template := must(w.ca.template(key.Public(), who, w.clock.Now()))
	poison := pkix.Extension{Id: sct.OIDPoison, Critical: true, Value: []byte{5, 0}}
	precertificate := must(w.ca.sign(template, key.Public(), poison))
	timestamp := must(w.ca.log(t.Context(), precertificate))
	list := pkix.Extension{Id: sct.OIDList, Value: must(sct.MarshalList([]sct.SCT{timestamp}))}

	good := must(w.ca.sign(template, key.Public(), list))
	if err := w.ca.checkIssued(precertificate, good, who); err != nil {
		t.Errorf("good certificate: %v", err)
	}
	for name, change := range map[string]func(*x509.Certificate){
		"lives longer":    func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) },
		"other serial":    func(c *x509.Certificate) { c.SerialNumber = w.newSerial() },
		"other usage":     func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"one more name":   func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "x"} },
		"authority":       func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true },
		"other extension": func(c *x509.Certificate) { c.ExtraExtensions[1].Value = []byte("https://evil.example") },
	} {
		altered := *template
		altered.ExtraExtensions = append([]pkix.Extension(nil), template.ExtraExtensions...)
		change(&altered)
		if err := w.ca.checkIssued(precertificate, must(w.ca.sign(&altered, key.Public(), list)), who); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
	another := who
	another.SAN.Value = "bob@acme.example"
	if err := w.ca.checkIssued(precertificate, good, another); err == nil {
		t.Error("another identity: not noticed")
	}
	stranger := newWorld(t, nil).ca
	if err := stranger.checkIssued(precertificate, must(w.ca.sign(template, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).Public(), list)), who); err == nil {
		t.Error("another key: not noticed")
	}
}

func (w *world) newSerial() *big.Int { return must(w.ca.serial()) }

func TestCA17_Randomness(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Rand = bytes.NewReader(nil) })
	w.refuses("no randomness", w.request(w.token(nil)), http.StatusInternalServerError)
	w = newWorld(t, func(c *Config) { c.Rand = zeros{} })
	w.refuses("zeros", w.request(w.token(nil)), http.StatusInternalServerError)
	w = newWorld(t, func(c *Config) { c.Rand = ones{} })
	w.issues("first of a stuck source", w.request(w.token(nil)))
	w.refuses("second of a stuck source", w.request(w.token(nil)), http.StatusInternalServerError)

	w = newWorld(t, func(c *Config) { c.PerIdentity = -1 })
	seen := map[string]bool{}
	for range 50 {
		serial := w.post("/api/v2/signingCert", w.request(w.token(nil)), nil).certificates(t)[0].SerialNumber.String()
		if seen[serial] {
			t.Fatalf("serial %s came twice", serial)
		}
		seen[serial] = true
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type ones struct{}

func (ones) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 1
	}
	return len(b), nil
}

// Whatever certificate was returned is in the log, byte for byte what was logged: concurrently, and with a log that fails now and then.
func TestCA18_ReturnedIsLogged(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PerIdentity = -1 })
	calls := 0
	w.log.spoil = func(s sct.SCT, err error) (sct.SCT, error) {
		if calls++; calls%3 == 0 {
			return sct.SCT{}, errors.New("the answer was lost")
		}
		return s, err
	}
	var mu sync.Mutex
	var returned []*x509.Certificate
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 6 {
				a := w.post("/api/v2/signingCert", w.request(w.token(nil)), nil)
				if a.status == http.StatusOK {
					leaf := a.certificates(t)[0]
					mu.Lock()
					returned = append(returned, leaf)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	if len(returned) == 0 || len(returned) >= len(w.log.entries) {
		t.Fatalf("%d returned, %d logged", len(returned), len(w.log.entries))
	}
	for _, leaf := range returned {
		timestamps := must(sct.FromCertificate(leaf))
		index, found, err := sct.ParseLeafIndex(timestamps[0].Extensions)
		if err != nil || !found {
			t.Fatalf("leaf index: %v, %v", found, err)
		}
		entry := must(x509.ParseCertificate(w.log.entries[index]))
		if !bytes.Equal(must(sct.PrecertTBS(entry.RawTBSCertificate)), must(sct.PrecertTBS(leaf.RawTBSCertificate))) {
			t.Errorf("entry %d is not this certificate's", index)
		}
	}
}

func TestCA20_AuthorityExpires(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		now := c.Clock()
		c.Chain = testChain(now, func(i, _ *x509.Certificate) { i.NotAfter = now.Add(time.Hour) })
	})
	w.issues("an hour before", w.request(w.token(nil)))
	w.clock.step(50*time.Minute - 2*time.Second)
	w.issues("ten minutes before", w.request(w.token(nil)))
	w.clock.step(4 * time.Second)
	w.refuses("just less than ten minutes before", w.request(w.token(nil)), http.StatusServiceUnavailable)
	w.clock.step(time.Hour)
	w.refuses("after", w.request(w.token(nil)), http.StatusServiceUnavailable)
}

func TestCA21_ClockGoesBack(t *testing.T) {
	w := newWorld(t, nil)
	w.issues("now", w.request(w.token(nil)))
	w.clock.step(-30 * time.Second)
	w.issues("half a minute back, as a clock is set", w.request(w.token(nil)))
	w.clock.step(-time.Hour)
	w.refuses("an hour back", w.request(w.token(nil)), http.StatusServiceUnavailable)
	w.clock.step(time.Hour)
	w.issues("caught up", w.request(w.token(nil)))
}

// BenchmarkIssue measures a certificate from the reading of the request to the answer, without network and with a log in memory.
func BenchmarkIssue(b *testing.B) {
	w := newWorld(b, func(c *Config) { c.PerIdentity, c.Total = -1, -1 })
	body := w.request(w.token(nil))
	b.ReportAllocs()
	for b.Loop() {
		request, err := parseV2(body, "")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.ca.issue(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "certificates/s")
}

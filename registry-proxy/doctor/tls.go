package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"time"
)

// checkCertificate looks at the certificate that clients are shown.
func checkCertificate(_ context.Context, s *snapshot) {
	if s.conf == nil || s.conf.TLS.Cert == "" {
		return
	}
	file := s.conf.TLS.Cert
	leaf, known := s.leaf()
	if !known {
		return
	}
	switch {
	case s.Now.After(leaf.NotAfter):
		s.Find("tls-ended", file, "it ended on %s", leaf.NotAfter.Format(time.RFC3339))
	case s.Now.Before(leaf.NotBefore):
		s.Find("tls-ended", file, "it is good from %s on, and not before", leaf.NotBefore.Format(time.RFC3339))
	case leaf.NotAfter.Before(s.Now.Add(soon)):
		s.Find("tls-ends", file, "it ends on %s", leaf.NotAfter.Format(time.RFC3339))
	}
	for _, r := range s.conf.Registries {
		for _, host := range r.Hosts {
			if err := leaf.VerifyHostname(hostOf(host)); err != nil {
				s.Find("tls-names", file, "clients that ask %s for images of %s: %v", host, r.LogicalName(), err)
			}
		}
	}
}

// hostOf is a host without its port.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// leaf is the first certificate of the file, and whether it goes with the key. What is
// wrong with the two is a finding.
func (s *snapshot) leaf() (*x509.Certificate, bool) {
	files := s.conf.TLS
	chain, ok := s.Read(files.Cert)
	if !ok {
		if !s.Exists(files.Cert) {
			s.Find("tls-unusable", files.Cert, "there is no such file")
		}
		return nil, false
	}
	key, ok := s.Read(files.Key)
	if !ok {
		if !s.Exists(files.Key) {
			s.Find("tls-unusable", files.Key, "there is no such file")
		}
		return nil, false
	}
	all := certificates(chain)
	if len(all) == 0 {
		s.Find("tls-unusable", files.Cert, "holds no PEM certificate")
		return nil, false
	}
	if block, _ := pem.Decode(key); block == nil {
		s.Find("tls-unusable", files.Key, "holds no PEM key")
		return nil, false
	}
	if _, err := tls.X509KeyPair(chain, key); err != nil { // the error holds nothing of the key
		s.Find("tls-mismatch", files.Key, "%v", err)
	}
	return all[0], true
}

// served is the first certificate of the proxy's file; nil if there is none.
func (s *snapshot) served() *x509.Certificate {
	data, ok := s.Read(s.conf.TLS.Cert)
	if !ok {
		return nil
	}
	all := certificates(data)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// certificates are those of a PEM file, in its order, up to the first that is none.
func certificates(data []byte) (all []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return all
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return all
		}
		all = append(all, c)
	}
}

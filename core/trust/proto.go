package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/touchmark/touchmark/core/jsonguard"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tsp"
)

// mediaTypeRoot is the only media type that sigstore-go and its descendants
// accept.
const mediaTypeRoot = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

// maxInstances bounds each list of a trusted root.
const maxInstances = 64

// maxTokens bounds the JSON of a trusted root or signing config. One log has 30
// tokens, an authority with a chain of eight 100.
const maxTokens = 16 << 10

// isBase64 says which members of a trusted root are bytes, in both of the
// spellings that protobuf's JSON allows.
func isBase64(name string) bool {
	switch name {
	case "rawBytes", "raw_bytes", "keyId", "key_id":
		return true
	}
	return false
}

func parseRoot(data []byte) (*Root, error) {
	if err := jsonguard.Check(data, maxTokens, isBase64); err != nil {
		return nil, err
	}
	var pb trustpb.TrustedRoot
	if err := protojson.Unmarshal(data, &pb); err != nil {
		return nil, fmt.Errorf("malformed JSON: %w", err)
	}
	if pb.GetMediaType() != mediaTypeRoot {
		return nil, fmt.Errorf("mediaType is %q, want %q", pb.GetMediaType(), mediaTypeRoot)
	}
	for _, list := range []struct {
		name string
		n    int
	}{
		{"tlogs", len(pb.GetTlogs())}, {"ctlogs", len(pb.GetCtlogs())},
		{"certificateAuthorities", len(pb.GetCertificateAuthorities())}, {"timestampAuthorities", len(pb.GetTimestampAuthorities())},
	} {
		if list.n > maxInstances {
			return nil, fmt.Errorf("%s has %d instances, the limit is %d", list.name, list.n, maxInstances)
		}
	}
	root := &Root{}
	var err error
	if root.Logs, err = parseLogs("tlogs", pb.GetTlogs()); err != nil {
		return nil, err
	}
	if root.CTLogs, err = parseLogs("ctlogs", pb.GetCtlogs()); err != nil {
		return nil, err
	}
	for i, ca := range pb.GetCertificateAuthorities() {
		parsed, err := parseCA(ca)
		if err != nil {
			return nil, fmt.Errorf("certificateAuthorities[%d]: %w", i, err)
		}
		root.CertificateAuthorities = append(root.CertificateAuthorities, parsed)
	}
	for i, tsa := range pb.GetTimestampAuthorities() {
		parsed, err := parseTSA(tsa)
		if err != nil {
			return nil, fmt.Errorf("timestampAuthorities[%d]: %w", i, err)
		}
		root.TimestampAuthorities = append(root.TimestampAuthorities, parsed)
	}
	return root, nil
}

func parseLogs(list string, pbs []*trustpb.TransparencyLogInstance) ([]Log, error) {
	var logs []Log
	seen := make(map[[32]byte]bool)
	for i, pb := range pbs {
		log, err := parseLog(pb)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", list, i, err)
		}
		if log.Key == nil {
			continue
		}
		if seen[log.ID] {
			return nil, fmt.Errorf("%s[%d]: logId %x stands twice", list, i, log.ID)
		}
		seen[log.ID] = true
		logs = append(logs, log)
	}
	return logs, nil
}

// parseLog reads one log. Its key is nil if the key's type is not supported.
func parseLog(pb *trustpb.TransparencyLogInstance) (Log, error) {
	if pb.GetHashAlgorithm() != commonpb.HashAlgorithm_SHA2_256 {
		return Log{}, fmt.Errorf("hashAlgorithm is %s, want SHA2_256", pb.GetHashAlgorithm())
	}
	id := pb.GetLogId().GetKeyId()
	if len(id) != 32 {
		return Log{}, fmt.Errorf("logId.keyId is missing or has %d bytes, want 32", len(id))
	}
	window, err := parseWindow(pb.GetPublicKey().GetValidFor())
	if err != nil {
		return Log{}, fmt.Errorf("publicKey.validFor: %w", err)
	}
	key, err := parseKey(pb.GetPublicKey())
	if err != nil {
		return Log{}, fmt.Errorf("publicKey: %w", err)
	}
	log := Log{BaseURL: pb.GetBaseUrl(), ID: [32]byte(id), Key: key, Window: window}
	return log, log.checkID(pb.GetPublicKey().GetRawBytes())
}

// checkID refuses a log whose ID is not that of its key: entries would name one
// log and be verified with another's key.
func (l *Log) checkID(spki []byte) error {
	if l.Key == nil || l.ID == sha256.Sum256(spki) {
		return nil
	}
	if u, err := url.Parse(l.BaseURL); err == nil {
		if id, err := tlog.KeyID(u.Hostname(), l.Key); err == nil && id == l.ID {
			return nil
		}
	}
	return fmt.Errorf("logId %x is not the ID of its key, neither SHA-256 of publicKey.rawBytes nor the signed-note key ID under baseUrl's host", l.ID)
}

// parseKey reads a log's key; nil if keyDetails names a type that is not
// supported.
func parseKey(pb *commonpb.PublicKey) (crypto.PublicKey, error) {
	if len(pb.GetRawBytes()) == 0 {
		return nil, errors.New("rawBytes is missing")
	}
	details := pb.GetKeyDetails()
	switch details {
	case commonpb.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, commonpb.PublicKeyDetails_PKIX_ED25519:
	case commonpb.PublicKeyDetails_PUBLIC_KEY_DETAILS_UNSPECIFIED:
		return nil, errors.New("keyDetails is missing")
	default:
		return nil, nil
	}
	key, err := x509.ParsePKIXPublicKey(pb.GetRawBytes())
	if err != nil {
		return nil, fmt.Errorf("rawBytes: %w", err)
	}
	ok := false
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		ok = details == commonpb.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256 && key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		ok = details == commonpb.PublicKeyDetails_PKIX_ED25519
	}
	if !ok {
		return nil, fmt.Errorf("rawBytes is not a key of the type %s", details)
	}
	return key, nil
}

func parseWindow(pb *commonpb.TimeRange) (Window, error) {
	if pb.GetStart() == nil {
		return Window{}, errors.New("start is missing")
	}
	w := Window{Start: pb.GetStart().AsTime()}
	if pb.GetEnd() != nil {
		if w.End = pb.GetEnd().AsTime(); w.End.Before(w.Start) {
			return Window{}, errors.New("end lies before start")
		}
	}
	return w, nil
}

func parseChain(pb *commonpb.X509CertificateChain) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for i, c := range pb.GetCertificates() {
		cert, err := x509.ParseCertificate(c.GetRawBytes())
		if err != nil {
			return nil, fmt.Errorf("certChain[%d]: %w", i, err)
		}
		chain = append(chain, cert)
	}
	return chain, checkChain(chain)
}

// maxChain bounds an authority's chain.
const maxChain = 8

func checkChain(chain []*x509.Certificate) error {
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("certChain has %d certificates, want 1 to %d", len(chain), maxChain)
	}
	for i := range len(chain) - 1 {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			return fmt.Errorf("certChain[%d] was not issued by certChain[%d]: %w", i, i+1, err)
		}
	}
	return nil
}

func parseCA(pb *trustpb.CertificateAuthority) (CertificateAuthority, error) {
	ca, err := parseAuthority(pb)
	if err != nil {
		return CertificateAuthority{}, err
	}
	// A signer's own certificate trusted as an authority would vouch for itself.
	first := ca.Root
	if len(ca.Intermediates) > 0 {
		first = ca.Intermediates[0]
	}
	if !first.IsCA {
		return CertificateAuthority{}, errors.New("certChain[0] is not a certificate authority's")
	}
	ca.remember()
	return ca, nil
}

func parseAuthority(pb *trustpb.CertificateAuthority) (CertificateAuthority, error) {
	window, err := parseWindow(pb.GetValidFor())
	if err != nil {
		return CertificateAuthority{}, fmt.Errorf("validFor: %w", err)
	}
	chain, err := parseChain(pb.GetCertChain())
	if err != nil {
		return CertificateAuthority{}, err
	}
	last := len(chain) - 1
	return CertificateAuthority{URI: pb.GetUri(), Intermediates: chain[:last], Root: chain[last], Window: window}, nil
}

func parseTSA(pb *trustpb.CertificateAuthority) (TimestampAuthority, error) {
	ca, err := parseAuthority(pb)
	if err != nil {
		return TimestampAuthority{}, err
	}
	a := TimestampAuthority{URI: ca.URI, Window: ca.Window, Authority: tsp.Authority{Intermediates: ca.Intermediates, Root: ca.Root}}
	if len(ca.Intermediates) == 0 || ca.Intermediates[0].IsCA {
		return TimestampAuthority{}, errors.New("certChain does not begin with the timestamping certificate; tokens that bring their own are not supported")
	}
	a.Authority.Leaf, a.Authority.Intermediates = ca.Intermediates[0], ca.Intermediates[1:]
	a.Authority = a.Authority.Remember()
	return a, nil
}

// Format writes a root as trusted_root.json, indented, in a form that every
// Sigstore client reads. Name and Digest are not part of it.
func Format(r *Root) ([]byte, error) {
	pb := &trustpb.TrustedRoot{MediaType: mediaTypeRoot}
	var err error
	if pb.Tlogs, err = formatLogs(r.Logs); err != nil {
		return nil, err
	}
	if pb.Ctlogs, err = formatLogs(r.CTLogs); err != nil {
		return nil, err
	}
	for _, ca := range r.CertificateAuthorities {
		pb.CertificateAuthorities = append(pb.CertificateAuthorities,
			formatCA(ca.URI, append(ca.Intermediates[:len(ca.Intermediates):len(ca.Intermediates)], ca.Root), ca.Window))
	}
	for _, tsa := range r.TimestampAuthorities {
		chain := append([]*x509.Certificate{tsa.Authority.Leaf}, tsa.Authority.Intermediates...)
		pb.TimestampAuthorities = append(pb.TimestampAuthorities, formatCA(tsa.URI, append(chain, tsa.Authority.Root), tsa.Window))
	}
	return indent(protojson.Marshal(pb))
}

// indent gives protojson's output, whose white space varies on purpose, a
// stable form.
func indent(raw []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	out, err := json.MarshalIndent(json.RawMessage(raw), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return append(out, '\n'), nil
}

func formatLogs(logs []Log) ([]*trustpb.TransparencyLogInstance, error) {
	var pbs []*trustpb.TransparencyLogInstance
	for _, l := range logs {
		details := commonpb.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
		if _, ok := l.Key.(ed25519.PublicKey); ok {
			details = commonpb.PublicKeyDetails_PKIX_ED25519
		}
		spki, err := x509.MarshalPKIXPublicKey(l.Key)
		if err != nil {
			return nil, fmt.Errorf("encoding key of log %s: %w", l.BaseURL, err)
		}
		pbs = append(pbs, &trustpb.TransparencyLogInstance{
			BaseUrl: l.BaseURL, HashAlgorithm: commonpb.HashAlgorithm_SHA2_256,
			PublicKey: &commonpb.PublicKey{RawBytes: spki, KeyDetails: details, ValidFor: formatWindow(l.Window)},
			LogId:     &commonpb.LogId{KeyId: l.ID[:]},
		})
	}
	return pbs, nil
}

func formatCA(uri string, chain []*x509.Certificate, w Window) *trustpb.CertificateAuthority {
	top := chain[len(chain)-1].Subject
	subject := &commonpb.DistinguishedName{CommonName: top.CommonName}
	if len(top.Organization) > 0 {
		subject.Organization = top.Organization[0]
	}
	pb := &trustpb.CertificateAuthority{Subject: subject, Uri: uri, CertChain: &commonpb.X509CertificateChain{}, ValidFor: formatWindow(w)}
	for _, c := range chain {
		pb.CertChain.Certificates = append(pb.CertChain.Certificates, &commonpb.X509Certificate{RawBytes: c.Raw})
	}
	return pb
}

func formatWindow(w Window) *commonpb.TimeRange {
	pb := &commonpb.TimeRange{Start: timestamppb.New(w.Start.UTC().Truncate(time.Millisecond))}
	if !w.End.IsZero() {
		pb.End = timestamppb.New(w.End.UTC().Truncate(time.Millisecond))
	}
	return pb
}

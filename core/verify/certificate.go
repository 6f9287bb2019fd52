package verify

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/core/trust"
)

// checkChain finds the certificate authority of the trust root that issued the
// leaf, and checks that the whole chain was valid at every authenticated time.
func (r *run) checkChain() error {
	times := make([]time.Time, len(r.result.Times))
	for i, t := range r.result.Times {
		times[i] = t.Time
	}
	err := errors.New("the trust root has no certificate authority")
	for i := range r.Root.CertificateAuthorities {
		var chain []*x509.Certificate
		if chain, err = r.Root.CertificateAuthorities[i].Chain(r.leaf, times); err != nil {
			continue
		}
		r.chain = chain
		r.pass(checkIssuance, "by "+chain[1].Subject.String(), "")
		return nil
	}
	return r.fail(CodeUntrustedCA, checkIssuance, "issuer "+r.leaf.Issuer.String(), "an authority of trust root "+r.Root.Name,
		fmt.Errorf("no certificate authority of the trust root %s issued it for the time of signing: %w", r.Root.Name, err))
}

// checkSCT checks that enough distinct certificate logs of the trust root
// promise to hold the leaf.
func (r *run) checkSCT() error {
	if r.InsecureIgnoreSCT {
		r.pass(checkSCTs, "not asked for", "")
		return nil
	}
	scts, err := sct.FromCertificate(r.leaf)
	if err != nil {
		return r.refuse(CodeSCT, checkSCTs, "%w", err)
	}
	if len(scts) == 0 {
		return r.refuse(CodeSCT, checkSCTs, "the certificate carries no certificate timestamp")
	}
	tbs, err := sct.PrecertTBS(r.leaf.RawTBSCertificate)
	if err != nil {
		return r.refuse(CodeSCT, checkSCTs, "%w", err)
	}
	issuerKeyHash := sha256.Sum256(r.chain[1].RawSubjectPublicKeyInfo)
	var logs distinct
	problem := errors.New("none is of a certificate log of the trust root")
	for _, s := range scts {
		log := r.Root.FindCTLog(s.LogID)
		if log == nil {
			continue
		}
		at, err := r.verifySCT(s, log, issuerKeyHash, tbs)
		if err != nil {
			problem = err
			continue
		}
		logs.add(log.Key)
		r.pass(checkSCTs, fmt.Sprintf("certificate timestamp of %s by %s", at.Format(time.RFC3339), log.BaseURL), "")
	}
	switch want := max(1, r.Require.SCTs); {
	case len(logs) >= want:
		return nil
	case len(logs) > 0:
		return r.refuse(CodeTooFewSCTs, checkSCTs, "the certificate is in %d distinct certificate logs of the trust root %s, wanted are %d", len(logs), r.Root.Name, want)
	}
	return r.refuse(CodeSCT, checkSCTs, "certificate timestamps: %w", problem)
}

func (r *run) verifySCT(s sct.SCT, log *trust.Log, issuerKeyHash [32]byte, tbs []byte) (time.Time, error) {
	key, ok := log.Key.(*ecdsa.PublicKey)
	if !ok {
		return time.Time{}, fmt.Errorf("the log %s does not sign with ECDSA", log.BaseURL)
	}
	at, err := s.Time()
	if err != nil {
		return time.Time{}, err
	}
	if !log.Window.Contains(at) {
		return time.Time{}, fmt.Errorf("the log %s is trusted %s, but the timestamp is of %s", log.BaseURL, log.Window, at.Format(time.RFC3339))
	}
	if at.After(r.leaf.NotAfter) {
		return time.Time{}, fmt.Errorf("the log %s made its timestamp at %s, after the certificate had expired", log.BaseURL, at.Format(time.RFC3339))
	}
	return at, s.Verify(key, issuerKeyHash, tbs)
}

package ca

import (
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxRequest bounds a request's body. Fulcio allows 4 MiB; a token of maxToken and an RSA key with its proof fit in half of this.
const maxRequest = 64 << 10

// Handler serves the API. Each path answers other methods than its own with 405.
func (c *CA) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v2/signingCert", c.only(http.MethodPost, c.serveV2))
	mux.HandleFunc("/api/v1/signingCert", c.only(http.MethodPost, c.serveV1))
	mux.HandleFunc("/api/v2/trustBundle", c.only(http.MethodGet, c.serveTrustBundle))
	mux.HandleFunc("/api/v2/configuration", c.only(http.MethodGet, c.serveConfiguration))
	mux.HandleFunc("/api/v1/rootCert", c.only(http.MethodGet, c.serveRootCert))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.refuse(w, r, &refusal{status: http.StatusNotFound, code: codeNotFound, message: msgNotFound})
	})
	return mux
}

// only passes requests of one method, and HEAD where that is GET.
func (c *CA) only(method string, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (r.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", method)
			c.refuse(w, r, &refusal{status: http.StatusMethodNotAllowed, code: codeUnimplemented, message: msgBadMethod})
			return
		}
		handler(w, r)
	}
}

func (c *CA) serveV2(w http.ResponseWriter, r *http.Request) {
	chain, err := c.serveSigning(w, r, parseV2)
	if err != nil {
		c.refuse(w, r, err)
		return
	}
	type certificates struct {
		Certificates []string `json:"certificates"`
	}
	type embedded struct {
		Chain certificates `json:"chain"`
	}
	writeJSON(w, http.StatusOK, struct {
		Embedded embedded `json:"signedCertificateEmbeddedSct"`
	}{embedded{certificates{chain}}})
}

// serveV1 answers without an SCT header: that is for timestamps that are not embedded.
func (c *CA) serveV1(w http.ResponseWriter, r *http.Request) {
	chain, err := c.serveSigning(w, r, parseV1)
	if err != nil {
		c.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, strings.Join(chain, ""))
}

// serveSigning reads a request and returns the new certificate and the authority's chain, each as PEM.
func (c *CA) serveSigning(w http.ResponseWriter, r *http.Request, parse func([]byte, string) (signingRequest, error)) ([]string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, code: codeInvalidArgument, message: msgTooLarge, detail: err}
	}
	if err != nil {
		return nil, invalid(msgRequest, errors.New("the body could not be read"))
	}
	request, err := parse(body, r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	if request.token == "" {
		return nil, invalid(msgToken, errors.New("no token was given"))
	}
	certificate, err := c.issue(r.Context(), request)
	if err != nil {
		return nil, err
	}
	return append([]string{certificatePEM(certificate.Raw)}, c.chainPEM()...), nil
}

func (c *CA) serveTrustBundle(w http.ResponseWriter, _ *http.Request) {
	type chain struct {
		Certificates []string `json:"certificates"`
	}
	writeJSON(w, http.StatusOK, struct {
		Chains []chain `json:"chains"`
	}{[]chain{{c.chainPEM()}}})
}

func (c *CA) serveConfiguration(w http.ResponseWriter, _ *http.Request) {
	type issuer struct {
		URL            string `json:"issuerUrl"`
		Audience       string `json:"audience"`
		ChallengeClaim string `json:"challengeClaim"`
		Type           string `json:"issuerType"`
	}
	var issuers []issuer
	for _, name := range c.order {
		accepted, claim := c.issuers[name], "sub"
		if accepted.Kind == Email {
			claim = "email"
		}
		issuers = append(issuers, issuer{URL: name, Audience: accepted.Audience, ChallengeClaim: claim, Type: string(accepted.Kind)})
	}
	writeJSON(w, http.StatusOK, struct {
		Issuers []issuer `json:"issuers"`
	}{issuers})
}

func (c *CA) serveRootCert(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = io.WriteString(w, strings.Join(c.chainPEM(), ""))
}

func (c *CA) chainPEM() []string {
	var chain []string
	for _, certificate := range c.chain {
		chain = append(chain, certificatePEM(certificate.Raw))
	}
	return chain
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

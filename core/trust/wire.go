package trust

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// The JSON of a trusted root and of a signing config (sigstore/protobuf-specs,
// sigstore_trustroot.proto, in protobuf's JSON mapping). Fields that are not
// read are here so that they are known.

type wireRoot struct {
	MediaType              string          `json:"mediaType"`
	Tlogs                  []wireLog       `json:"tlogs,omitempty"`
	CertificateAuthorities []wireAuthority `json:"certificateAuthorities,omitempty"`
	CTLogs                 []wireLog       `json:"ctlogs,omitempty"`
	TimestampAuthorities   []wireAuthority `json:"timestampAuthorities,omitempty"`
}

type wireLog struct {
	BaseURL         string    `json:"baseUrl,omitzero"`
	HashAlgorithm   string    `json:"hashAlgorithm,omitzero"`
	PublicKey       wireKey   `json:"publicKey"`
	LogID           wireLogID `json:"logId"`
	CheckpointKeyID wireLogID `json:"checkpointKeyId,omitzero"`
	Operator        string    `json:"operator,omitzero"`
}

type wireKey struct {
	RawBytes   []byte    `json:"rawBytes,omitempty"`
	KeyDetails string    `json:"keyDetails,omitzero"`
	ValidFor   wireRange `json:"validFor"`
}

type wireLogID struct {
	KeyID []byte `json:"keyId,omitempty"`
}

// IsZero says that there is no ID.
func (w wireLogID) IsZero() bool { return len(w.KeyID) == 0 }

type wireAuthority struct {
	Subject   wireSubject `json:"subject,omitzero"`
	URI       string      `json:"uri,omitzero"`
	CertChain wireChain   `json:"certChain"`
	ValidFor  wireRange   `json:"validFor"`
	Operator  string      `json:"operator,omitzero"`
}

type wireSubject struct {
	Organization string `json:"organization,omitzero"`
	CommonName   string `json:"commonName,omitzero"`
}

type wireChain struct {
	Certificates []wireCertificate `json:"certificates,omitempty"`
}

type wireCertificate struct {
	RawBytes []byte `json:"rawBytes,omitempty"`
}

type wireRange struct {
	Start *instant `json:"start,omitzero"`
	End   *instant `json:"end,omitzero"`
}

type wireSigningConfig struct {
	MediaType       string        `json:"mediaType"`
	CAURLs          []wireService `json:"caUrls,omitempty"`
	OIDCURLs        []wireService `json:"oidcUrls,omitempty"`
	RekorTlogURLs   []wireService `json:"rekorTlogUrls,omitempty"`
	RekorTlogConfig wireSelection `json:"rekorTlogConfig,omitzero"`
	TSAURLs         []wireService `json:"tsaUrls,omitempty"`
	TSAConfig       wireSelection `json:"tsaConfig,omitzero"`
}

type wireService struct {
	URL             string    `json:"url,omitzero"`
	MajorAPIVersion uint32    `json:"majorApiVersion,omitzero"`
	ValidFor        wireRange `json:"validFor"`
	Operator        string    `json:"operator,omitzero"`
}

type wireSelection struct {
	Selector string `json:"selector,omitzero"`
	Count    uint32 `json:"count,omitzero"`
}

// Names of algorithms.
const (
	hashSHA256 = "SHA2_256"
	keyP256    = "PKIX_ECDSA_P256_SHA_256"
	keyEd25519 = "PKIX_ED25519"
)

// otherKeys are the types of keys that the format knows besides: logs with such
// keys are left out. Any other name is a mistake, which must not make a log
// disappear.
var otherKeys = []string{
	"PKCS1_RSA_PKCS1V5", "PKCS1_RSA_PSS", "PKIX_RSA_PKCS1V5", "PKIX_RSA_PSS",
	"PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_RSA_PKCS1V15_3072_SHA256", "PKIX_RSA_PKCS1V15_4096_SHA256",
	"PKIX_RSA_PSS_2048_SHA256", "PKIX_RSA_PSS_3072_SHA256", "PKIX_RSA_PSS_4096_SHA256",
	"PKIX_ECDSA_P256_HMAC_SHA_256", "PKIX_ECDSA_P384_SHA_384", "PKIX_ECDSA_P521_SHA_512", "PKIX_ECDSA_P384_SHA_256", "PKIX_ECDSA_P521_SHA_256",
	"PKIX_ED25519_PH", "LMS_SHA256", "LMOTS_SHA256", "ML_DSA_44", "ML_DSA_65", "ML_DSA_87",
}

// instant is a point in time: RFC 3339, with up to nanoseconds.
type instant time.Time

// UnmarshalJSONFrom reads a time of the years 1 to 9999.
func (i *instant) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '"' {
		return errors.New("not a time")
	}
	text := token.String()
	t, err := time.Parse(time.RFC3339Nano, text)
	// The package takes hours of one digit and fractions behind a comma, too.
	if err != nil || !strings.HasPrefix(text, t.Format("2006-01-02T15:04:05")) || strings.Contains(text, ",") {
		return errors.New("not a time as RFC 3339 has it")
	}
	*i = instant(t.UTC())
	return nil
}

// MarshalJSONTo writes the time in UTC.
func (i instant) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteToken(jsontext.String(time.Time(i).Format("2006-01-02T15:04:05.999Z07:00")))
}

// unmarshal reads strictly.
func unmarshal(untrustedJSON []byte, w any) error {
	isBase64 := func(name []byte) bool { return string(name) == "rawBytes" || string(name) == "keyId" }
	if err := jsonguard.Check(untrustedJSON, maxTokens, isBase64); err != nil {
		return err
	}
	if err := json.Unmarshal(untrustedJSON, w, json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(true)); err != nil {
		if isTUF(untrustedJSON) {
			return errors.New("this is metadata of a TUF repository, such as root.json; the file trusted_root.json is another one")
		}
		return fmt.Errorf("malformed JSON: %w", err)
	}
	return nil
}

// isTUF recognises the file that is most often given in the place of a trusted
// root: they are published side by side.
func isTUF(untrustedJSON []byte) bool {
	var metadata struct {
		Signed struct {
			Type string `json:"_type"`
		} `json:"signed"`
	}
	err := json.Unmarshal(untrustedJSON, &metadata, jsontext.AllowDuplicateNames(true))
	return err == nil && metadata.Signed.Type != ""
}

package policy
import (
 _ "github.com/open-policy-agent/opa/v1/rego"
 _ "cuelang.org/go/cue/cuecontext"
 _ "github.com/sigstore/sigstore/pkg/signature/kms/aws"
 _ "github.com/sigstore/sigstore/pkg/signature/kms/azure"
 _ "github.com/sigstore/sigstore/pkg/signature/kms/gcp"
 _ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
 _ "github.com/miekg/pkcs11"
 _ "github.com/ProtonMail/go-crypto/openpgp"
)

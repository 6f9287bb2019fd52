package oracles
import (
 _ "github.com/sigstore/policy-controller/pkg/webhook"
 _ "github.com/santhosh-tekuri/jsonschema/v6"
)

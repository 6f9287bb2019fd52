package oracles

import (
	_ "github.com/santhosh-tekuri/jsonschema/v6"
	_ "github.com/sigstore/policy-controller/pkg/webhook"
)

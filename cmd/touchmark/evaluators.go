package main

import (
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
)

func policyOptions(ignoreClusterMatch bool) policy.Options {
	return policy.Options{IgnoreClusterMatch: ignoreClusterMatch}
}

func keyOptions() keys.Options { return keys.Options{} }

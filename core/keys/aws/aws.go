// Package aws makes keys in AWS KMS available to core/keys/kms, by being imported: references begin with awskms://.
//
// Signing needs the permissions kms:GetPublicKey, kms:DescribeKey and kms:Sign. Credentials are found in AWS's usual ways: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, a web identity, an instance's role.
package aws

import _ "github.com/sigstore/sigstore/pkg/signature/kms/aws" // registers itself with sigstore's list of providers

// Package gcp makes keys in Google Cloud KMS available to core/keys/kms, by being imported: references begin with gcpkms://.
//
// Signing needs the permissions cloudkms.cryptoKeyVersions.list, .get, .viewPublicKey and .useToSign. Credentials are found in application default credentials: GOOGLE_APPLICATION_CREDENTIALS, a workload's identity, gcloud auth.
package gcp

import _ "github.com/sigstore/sigstore/pkg/signature/kms/gcp" // registers itself with sigstore's list of providers

// Package azure makes keys in Azure Key Vault available to core/keys/kms, by being imported: references begin with azurekms://.
//
// Signing needs the permissions keys/get and keys/sign. Credentials are found in Azure's usual ways: AZURE_CLIENT_ID and the like, a managed identity, az login.
package azure

import _ "github.com/sigstore/sigstore/pkg/signature/kms/azure" // registers itself with sigstore's list of providers

// Package hashivault makes keys in HashiCorp Vault's and OpenBao's transit engine available to core/keys/kms, by being imported: references begin with hashivault://.
//
// Signing needs the permissions read of transit/keys/NAME and update of transit/sign/NAME/*. Credentials are found in VAULT_ADDR and VAULT_TOKEN (or ~/.vault-token).
package hashivault

import _ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault" // registers itself with sigstore's list of providers

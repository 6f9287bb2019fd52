// Package hashivault makes keys in HashiCorp Vault's and OpenBao's transit engine available to core/keys/kms, by being imported: references begin with hashivault:// or openbao://.
//
// Signing needs a policy with "read" on transit/keys/NAME and "update" on transit/sign/NAME/*. Credentials are found in VAULT_ADDR and VAULT_TOKEN (or
// ~/.vault-token), or in BAO_ADDR and BAO_TOKEN.
package hashivault

import _ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault" // registers itself with sigstore's list of providers

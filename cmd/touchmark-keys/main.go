// Command touchmark-keys uses keys in AWS KMS, Azure Key Vault, Google Cloud KMS, HashiCorp Vault and on PKCS#11 tokens. It isn't for people: touchmark runs
// it when a key's reference names one of those, and finds it beside itself or in PATH.
//
// It reads requests from standard input and answers on standard output, see core/keys/worker. Who we are is in the environment, as the clouds' own tools have
// it; TOUCHMARK_PKCS11_MODULE_PATH (or cosign's COSIGN_PKCS11_MODULE_PATH) is the driver of tokens whose URI has no module-path.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	_ "github.com/touchmark/touchmark/core/keys/aws"
	_ "github.com/touchmark/touchmark/core/keys/azure"
	_ "github.com/touchmark/touchmark/core/keys/gcp"
	_ "github.com/touchmark/touchmark/core/keys/hashivault"
	"github.com/touchmark/touchmark/core/keys/kms"
	"github.com/touchmark/touchmark/core/keys/pkcs11"
	"github.com/touchmark/touchmark/core/keys/worker"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), worker.TimeLimit)
	defer cancel()
	module := cmp.Or(os.Getenv("TOUCHMARK_PKCS11_MODULE_PATH"), os.Getenv("COSIGN_PKCS11_MODULE_PATH"))
	err := worker.Serve(ctx, os.Stdin, os.Stdout, map[string]worker.Backend{
		"awskms://":     kms.Backend{},
		"azurekms://":   kms.Backend{},
		"gcpkms://":     kms.Backend{},
		"hashivault://": kms.Backend{},
		"openbao://":    kms.Backend{},
		"pkcs11:":       &pkcs11.Backend{Module: module},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-keys:", err)
		os.Exit(1)
	}
}

// Command credentials is, for tests, a credential helper of Docker's
// (docker-credential-NAME get) or a credential provider of the kubelet's, as its
// name says.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	name, helper := strings.CutPrefix(filepath.Base(os.Args[0]), "docker-credential-")
	switch {
	case !helper:
		var request struct{ APIVersion, Image string }
		if err := json.Unmarshal(input, &request); err != nil {
			panic(err)
		}
		registry, _, _ := strings.Cut(request.Image, "/")
		fmt.Printf(`{"apiVersion": %q, "kind": "CredentialProviderResponse", "cacheKeyType": "Image", "auth": {%q: {"username": "provider of %s", "password": "s3cret"}}}`,
			request.APIVersion, registry, request.Image)
	case name == "fails":
		fmt.Println(`the keyring is locked {"Secret": "s3cret"}`)
		os.Exit(1)
	default:
		registry := strings.TrimSpace(string(input))
		fmt.Printf(`{"ServerURL": %q, "Username": "%s of %s", "Secret": "s3cret"}`, registry, name, registry)
	}
}

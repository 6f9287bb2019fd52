// Package clients tests unmodified clients of the ecosystem against "touchmark up" as a separate process: cosign 3 and 2, Sigstore's JavaScript packages, rekor-cli,
// openssl. Each signs, and each verifies what the others and touchmark signed; and each refuses what must be refused, for the right reason.
//
// The clients are installed at pinned versions by integration/tools.sh. They run with a home directory of their own, and can reach nothing but this machine, so that
// what passes here works without the public Sigstore.
//
// What was tried, with the commands, stands in docs/clients.md. A full run compares it with what the tests did; "go test ./integration/clients -update" writes it.
package clients

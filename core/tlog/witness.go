package tlog

import "crypto/ed25519"

// Witness is who cosigns checkpoints (C2SP tlog-cosignature): it says that it
// saw the log grow from every checkpoint that it cosigned before.
type Witness struct {
	Name string
	Key  ed25519.PublicKey
}

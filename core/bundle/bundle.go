// Package bundle reads evidence.
package bundle
// placeholder, LEAD is writing this now
const MediaTypeV03 = "application/vnd.dev.sigstore.bundle.v0.3+json"
const MaxSize = 1 << 20

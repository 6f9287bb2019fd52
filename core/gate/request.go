package gate

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

// Request asks whether one image may run. Adapters differ in how they fill it,
// and in nothing else.
type Request struct {
	// Repository is the logical name, as the user typed it and policies speak
	// of it; never a mirror's or a proxy's. See
	// [attach.NormalizeRepository].
	Repository string
	// Digest is the digest of the image's manifest or index. It must have been
	// computed from the bytes that will be used, not taken from a header.
	Digest v1.Hash
	// MediaType is the manifest's media type, if the caller knows it.
	MediaType string
	// Parents are indexes that are known to list the image. The gate reads each
	// of them and checks that it does.
	Parents []v1.Hash
	// ParentsKnown says that the image has no parents but these: the caller looked
	// for them, or the image was named by its user as it is. Where a site wants
	// indexes signed, an image that only might be in none is not judged.
	ParentsKnown bool
	// Source is where evidence is looked for.
	Source attach.Source
}

// Admitter decides whether images may run. It is the one question that every
// enforcement point asks; [Gate] answers it in this process.
type Admitter interface {
	// Admit never fails: what could not be decided is a verdict too, and it
	// does not admit. A cancelled context gives an undecided verdict.
	Admit(ctx context.Context, req Request) Verdict
}

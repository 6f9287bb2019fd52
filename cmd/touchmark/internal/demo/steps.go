package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/verify"
)

func unsigned(ctx context.Context, w *world, say *narrator) error {
	say.does("push %s/acme/hello:1 (for %s)", w.registry, strings.Join(platforms, " and "))
	if err := w.push(ctx, "acme/hello:1", "Hello from a signed image."); err != nil {
		return err
	}
	return expectRefusal(ctx, w, say, "acme/hello:1", "is not signed")
}

func signed(ctx context.Context, w *world, say *narrator) error {
	say.does("touchmark sign --as %s %s/acme/hello:1", alice, w.registry)
	result, err := w.sign(ctx, "acme/hello:1", alice)
	if err != nil {
		return err
	}
	last := result.Signatures[len(result.Signatures)-1]
	say.sees("signed %s and its platforms", result.Digest)
	say.tells("identity token    -> certificate for %s, in the certificate log", result.Identity.Subject)
	say.tells("signature         -> log entry %d, with inclusion proof", last.Bundle.LogIndex)
	if last.Bundle.Timestamp != nil {
		say.tells("timestamp (RFC 3161): %s", last.Bundle.Timestamp.UTC().Format("2006-01-02 15:04:05 MST"))
	}
	say.tells("bundle and .sig   -> beside the image in the registry")
	return expectPull(ctx, w, say, "acme/hello:1")
}

func wrongSigner(ctx context.Context, w *world, say *narrator) error {
	if err := w.push(ctx, "acme/other:1", "Hello from Mallory."); err != nil {
		return err
	}
	say.does("touchmark sign --as %s %s/acme/other:1", mallory, w.registry)
	if _, err := w.sign(ctx, "acme/other:1", mallory); err != nil {
		return err
	}
	return expectRefusal(ctx, w, say, "acme/other:1", mallory)
}

// tagBelieved is longer than the proxy takes a tag to be where it was.
const tagBelieved = 1200 * time.Millisecond

func movedTag(ctx context.Context, w *world, say *narrator) error {
	say.does("push another image as %s/acme/hello:1", w.registry)
	if err := w.push(ctx, "acme/hello:1", "Hello from an image that took over the tag."); err != nil {
		return err
	}
	// The proxy believes for a second that a tag is where it was: as long, it serves the
	// image that alice signed.
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(tagBelieved):
	}
	return expectRefusal(ctx, w, say, "acme/hello:1", "is not signed")
}

// tampered puts the image that alice signed into a repository of its own,
// beside a copy of its signature with one bit changed.
func tampered(ctx context.Context, w *world, say *narrator) error {
	if err := w.push(ctx, "acme/tampered:1", "Hello from a signed image."); err != nil {
		return err
	}
	desc, err := w.resolve(ctx, "acme/tampered:1")
	if err != nil {
		return err
	}
	found, err := attach.Find(ctx, w.source("acme/hello"), desc.Digest)
	if err != nil {
		return err
	}
	for _, located := range found.Evidence {
		if located.Err != nil || located.Evidence.Envelope == nil {
			continue
		}
		changed := *located.Evidence
		envelope := *changed.Envelope
		envelope.Signature = bytes.Clone(envelope.Signature)
		envelope.Signature[len(envelope.Signature)-1] ^= 1
		changed.Envelope = &envelope
		raw, err := bundle.Marshal(&changed)
		if err != nil {
			return err
		}
		say.does("attach alice's signature with one bit changed to %s/acme/tampered:1", w.registry)
		if _, err := attach.WriteBundle(ctx, w.source("acme/tampered"), desc, raw, verify.PredicateImageSignature, w.now()); err != nil {
			return err
		}
		if err := expectRefusal(ctx, w, say, "acme/tampered:1", "signature"); err != nil {
			return err
		}
		return explainFailure(ctx, w, say, "acme/tampered", desc)
	}
	return errors.New("found no bundle to tamper with")
}

// explainFailure names the check that failed.
func explainFailure(ctx context.Context, w *world, say *narrator, repository string, desc v1.Descriptor) error {
	v := w.gate.Admit(ctx, gate.Request{Repository: w.registry + "/" + repository, Digest: desc.Digest, Source: w.source(repository)})
	for _, s := range v.Signatures {
		for _, a := range s.Attempts {
			for _, c := range a.Checks {
				if !c.Passed {
					say.tells("failed check: %s (%s)", c.Name, a.Code)
					return nil
				}
			}
		}
	}
	return errors.New("the verdict names no check that failed")
}

func outage(ctx context.Context, w *world, say *narrator) error {
	say.does("stop the certificate authority, the logs and the timestamp authority")
	if err := w.stopStack(); err != nil {
		return err
	}
	say.does("start a new proxy, which has decided nothing yet")
	if err := w.startProxy(ctx); err != nil {
		return err
	}
	say.does("tag the image that alice signed as %s/acme/hello:2", w.registry)
	if err := w.retag(ctx, "acme/hello", w.signed, "2"); err != nil {
		return err
	}
	return expectPull(ctx, w, say, "acme/hello:2")
}

// expectRefusal pulls through the proxy and wants to be refused with a reason
// that contains the given words.
func expectRefusal(ctx context.Context, w *world, say *narrator, image, reason string) error {
	say.does("pull %s/%s", w.proxy, image)
	err := w.pull(ctx, image)
	if err == nil {
		return fmt.Errorf("%s was pulled, and should have been refused", image)
	}
	var answer *transport.Error
	if !errors.As(err, &answer) || answer.StatusCode != 403 || len(answer.Errors) != 1 || answer.Errors[0].Code != transport.DeniedErrorCode {
		return fmt.Errorf("wanted 403 DENIED, got: %w", err)
	}
	message := answer.Errors[0].Message
	if !strings.Contains(message, reason) {
		return fmt.Errorf("the reason %q does not say %q", message, reason)
	}
	say.sees("refused: %s", message)
	return nil
}

// expectPull pulls through the proxy, all layers of all platforms, and says who
// signed.
func expectPull(ctx context.Context, w *world, say *narrator, image string) error {
	say.does("pull %s/%s", w.proxy, image)
	// A refusal is remembered for a second; whoever signs right after one waits
	// that long.
	err := w.pull(ctx, image)
	for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); err = w.pull(ctx, image) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err != nil {
		return fmt.Errorf("pulling %s: %w", image, err)
	}
	desc, err := w.resolve(ctx, image)
	if err != nil {
		return err
	}
	repository, _, _ := strings.Cut(image, ":")
	v := w.gate.Admit(ctx, gate.Request{Repository: w.registry + "/" + repository, Digest: desc.Digest, Source: w.source(repository)})
	if !v.Admitted() {
		raw, _ := json.Marshal(v)
		return fmt.Errorf("the proxy admitted what the gate does not: %s", raw)
	}
	say.sees("admitted: %s", v.Reason)
	return nil
}

// pull fetches an image through the proxy: its index, every platform's
// manifest, and every blob.
func (w *world) pull(ctx context.Context, image string) error {
	ref, err := w.reference(w.proxy, image)
	if err != nil {
		return err
	}
	index, err := remote.Index(ref, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, child := range manifest.Manifests {
		img, err := index.Image(child.Digest)
		if err != nil {
			return err
		}
		layers, err := img.Layers()
		if err != nil {
			return err
		}
		for _, layer := range layers {
			if err := drain(layer); err != nil {
				return err
			}
		}
		if _, err := img.RawConfigFile(); err != nil {
			return err
		}
	}
	return nil
}

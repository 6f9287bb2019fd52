// Package demo tells Touchmark's whole story in one process, on loopback: a
// registry, a private Sigstore and a verifying proxy, an image that is refused
// until the right person has signed it, and what happens when somebody cheats.
//
// What runs is the real thing, with a data directory of its own; only the
// registry (go-containerregistry's, in memory) is there for the demo. Every
// step states what must happen, and the demo fails if it does not.
package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// Config says how the demo runs.
type Config struct {
	Out   io.Writer
	Color bool // Out is a terminal
	// Keep leaves everything running after the last step, until the context
	// ends, and prints commands to try.
	Keep bool
	// Dir is where the stack keeps its state; empty means a temporary directory
	// that is removed at the end.
	Dir string
}

// Who signs in the demo, and who should not.
const (
	alice   = "alice@acme.example"
	mallory = "mallory@evil.example"
)

// Run tells the story. The error says which step did not go as it must.
func Run(ctx context.Context, c Config) (err error) {
	dir := c.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "touchmark-demo-"); err != nil {
			return fmt.Errorf("making a data directory: %w", err)
		}
		defer os.RemoveAll(dir)
	}
	say := &narrator{out: c.Out, color: c.Color}
	w, err := newWorld(ctx, dir)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	defer w.close()
	say.opening(w)

	for _, s := range []struct {
		title string
		tell  func(context.Context, *world, *narrator) error
	}{
		{"An image that nobody has signed", unsigned},
		{"Alice signs it with her identity, without a key of her own", signed},
		{"Mallory signs another image, with a valid identity of her own", wrongSigner},
		{"The tag is moved to an image that nobody has signed", movedTag},
		{"A signature is tampered with", tampered},
		{"The private Sigstore is stopped; pulls go on", outage},
	} {
		say.title(s.title)
		if err := s.tell(ctx, w, say); err != nil {
			say.failed(err)
			return fmt.Errorf("step %d (%s): %w", say.step, s.title, err)
		}
	}
	say.closing(w)
	if c.Keep {
		if err := w.startStack(ctx); err != nil {
			return fmt.Errorf("starting the Sigstore again: %w", err)
		}
		say.commands(w)
		<-ctx.Done()
	}
	return nil
}

// policyFor is the demo's policy: images of the registry must be signed by
// alice.
func policyFor(registry, issuer string) string {
	return fmt.Sprintf(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: release
spec:
  images:
  - glob: "%s/**"
  authorities:
  - name: alice
    keyless:
      identities:
      - issuer: %s
        subject: %s
`, registry, issuer, alice)
}

// writeFile keeps a file for those who go on with --keep.
func writeFile(dir, name, content string) (string, error) {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return "", err
	}
	return path, nil
}

var quiet = slog.New(slog.DiscardHandler)

package policycmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// listTimeout bounds the programs that list images.
const listTimeout = time.Minute

// images are the references to examine: the arguments, or what --from finds.
func (f *learnFlags) images(ctx context.Context, args []string) ([]string, error) {
	if f.from != "registry" && f.from != "" && len(args) > 0 {
		return nil, exit.Usage(fmt.Errorf("--from %s finds the images itself; leave the arguments out", f.from))
	}
	var found []string
	var err error
	switch f.from {
	case "":
		return args, nil
	case "podman":
		found, err = podmanImages(ctx)
	case "containerd":
		found, err = containerdImages(ctx, f.namespace)
	case "registry":
		if len(args) == 0 {
			return nil, exit.Usage(errors.New("--from registry: want registries, or registry/prefix, as arguments"))
		}
		for _, arg := range args {
			images, registryErr := f.registryImages(ctx, arg)
			if registryErr != nil {
				return nil, exit.Undecided(registryErr)
			}
			found = append(found, images...)
		}
	default:
		return nil, exit.Usage(fmt.Errorf("--from %q is not podman, containerd or registry", f.from))
	}
	if err != nil {
		return nil, exit.Undecided(err)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// podmanImages are the images of podman's storage, by the digests under which they were pulled.
func podmanImages(ctx context.Context) ([]string, error) {
	out, err := list(ctx, "podman", "images", "--format", "json")
	if err != nil {
		return nil, err
	}
	var images []struct {
		RepoDigests []string
	}
	if err := json.Unmarshal(out, &images); err != nil {
		return nil, fmt.Errorf("reading podman's list of images: %w", err)
	}
	var refs []string
	for _, image := range images {
		for _, ref := range image.RepoDigests {
			// What was built here was pulled from nowhere.
			if !strings.HasPrefix(ref, "localhost/") {
				refs = append(refs, ref)
			}
		}
	}
	return refs, nil
}

// containerdImages are the images of one of containerd's namespaces, by name and digest.
func containerdImages(ctx context.Context, namespace string) ([]string, error) {
	out, err := list(ctx, "ctr", "--namespace", namespace, "images", "ls")
	if err != nil {
		return nil, err
	}
	var refs []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // REF TYPE DIGEST SIZE ...
		if len(fields) < 3 || !strings.HasPrefix(fields[2], "sha256:") || strings.HasPrefix(fields[0], "sha256:") {
			continue // the heading, and CRI's further names for an image
		}
		ref, err := name.ParseReference(fields[0])
		if err != nil {
			return nil, fmt.Errorf("reading containerd's list of images: %w", err)
		}
		refs = append(refs, ref.Context().Digest(fields[2]).String())
	}
	return refs, nil
}

func list(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing images: %s: %w: %s", cmd, err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// registryImages are all tags of the repositories of a registry, or of those below a prefix.
func (f *learnFlags) registryImages(ctx context.Context, where string) ([]string, error) {
	host, prefix, _ := strings.Cut(where, "/")
	var opts []name.Option
	if f.registry.AllowHTTP {
		opts = append(opts, name.Insecure)
	}
	registry, err := name.NewRegistry(host, opts...)
	if err != nil {
		return nil, fmt.Errorf("--from registry: %w", err)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("touchmark")}
	repositories, err := remote.Catalog(ctx, registry, options...)
	if err != nil {
		return nil, fmt.Errorf("listing the repositories of %s: %w", host, err)
	}
	var refs []string
	for _, repository := range repositories {
		if prefix != "" && repository != prefix && !strings.HasPrefix(repository, strings.TrimSuffix(prefix, "/")+"/") {
			continue
		}
		tags, err := remote.List(registry.Repo(repository), options...)
		if err != nil {
			return nil, fmt.Errorf("listing the tags of %s/%s: %w", host, repository, err)
		}
		for _, tag := range tags {
			if isEvidenceTag(tag) {
				continue
			}
			refs = append(refs, registry.Repo(repository).Tag(tag).String())
			if len(refs) > maxLearned {
				return nil, fmt.Errorf("%s has more than %d images; give prefixes", where, maxLearned)
			}
		}
	}
	return refs, nil
}

// isEvidenceTag reports whether a tag holds what lies beside an image: sha256-<hex>, .sig, .att or .sbom.
func isEvidenceTag(tag string) bool {
	rest, ok := strings.CutPrefix(tag, "sha256-")
	return ok && len(rest) >= 64
}

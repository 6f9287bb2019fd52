package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	containers "github.com/containerd/containerd/api/services/containers/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// listTimeout ends a list: thousands of records are read from containerd's
// database.
const listTimeout = time.Minute

// Image is one name of an image in one namespace. The same image has a record for
// each of its names; CRI makes some of its own, which have a digest, or are the
// digest of the image's configuration alone ("sha256:...").
type Image struct {
	Name      string
	Digest    string // of what the name leads to: an index, or a manifest
	MediaType string
	Labels    map[string]string
	// Created is when the name came to be; zero if containerd does not say.
	Created time.Time
}

// Images are the images of a namespace, ordered by name.
func (n *Node) Images(ctx context.Context, namespace string) ([]Image, error) {
	ctx, cancel := in(ctx, namespace, listTimeout)
	defer cancel()
	answer, err := images.NewImagesClient(n.conn).List(ctx, &images.ListImagesRequest{})
	if err != nil {
		return nil, n.fail(fmt.Sprintf("the images of namespace %s", namespace), err)
	}
	var found []Image
	for _, i := range answer.GetImages() {
		image := Image{Name: i.GetName(), Digest: i.GetTarget().GetDigest(), MediaType: i.GetTarget().GetMediaType(), Labels: i.GetLabels()}
		if at := i.GetCreatedAt(); at.IsValid() {
			image.Created = at.AsTime()
		}
		found = append(found, image)
	}
	slices.SortFunc(found, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// Label sets labels of an image's name, and leaves others as they are. Key and
// value together have at most 4096 bytes.
func (n *Node) Label(ctx context.Context, namespace string, image Image, labels map[string]string) error {
	ctx, cancel := in(ctx, namespace, callTimeout)
	defer cancel()
	var mask fieldmaskpb.FieldMask
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		mask.Paths = append(mask.Paths, "labels."+key)
	}
	// The mask leaves the target as it is, but containerd 2.4 panics without one.
	_, err := images.NewImagesClient(n.conn).Update(ctx, &images.UpdateImageRequest{
		Image: &images.Image{Name: image.Name, Labels: labels, Target: target(image)}, UpdateMask: &mask,
	})
	if err != nil {
		return n.fail(fmt.Sprintf("labelling %s in namespace %s", image.Name, namespace), err)
	}
	return nil
}

func target(image Image) *types.Descriptor {
	return &types.Descriptor{Digest: image.Digest, MediaType: image.MediaType}
}

// Remove removes an image's name, if it still leads to that digest. What no name
// leads to any more, containerd deletes at its leisure; what containers use stays on
// disk.
func (n *Node) Remove(ctx context.Context, namespace string, image Image) error {
	ctx, cancel := in(ctx, namespace, callTimeout)
	defer cancel()
	_, err := images.NewImagesClient(n.conn).Delete(ctx, &images.DeleteImageRequest{Name: image.Name, Target: target(image)})
	if err != nil {
		return n.fail(fmt.Sprintf("removing %s in namespace %s", image.Name, namespace), err)
	}
	return nil
}

// Container is a container of one namespace. It need not be running.
type Container struct {
	ID     string
	Image  string // the image's name, as the client that made it has it
	Labels map[string]string
	// Digest is what CRI made it from, of an index or a manifest; the name may lead
	// elsewhere by now. "" if CRI did not make it, or is older than containerd 2.4.
	Digest string
}

// criMetadata is under what CRI keeps its own record of a container (containerd
// internal/cri/labels).
const criMetadata = "io.cri-containerd.container.metadata"

// Containers are the containers of a namespace, those that are CRI's pods among
// them.
func (n *Node) Containers(ctx context.Context, namespace string) ([]Container, error) {
	ctx, cancel := in(ctx, namespace, listTimeout)
	defer cancel()
	answer, err := containers.NewContainersClient(n.conn).List(ctx, &containers.ListContainersRequest{})
	if err != nil {
		return nil, n.fail(fmt.Sprintf("the containers of namespace %s", namespace), err)
	}
	var found []Container
	for _, c := range answer.GetContainers() {
		found = append(found, Container{ID: c.GetID(), Image: c.GetImage(), Labels: c.GetLabels(), Digest: madeFrom(c.GetExtensions()[criMetadata].GetValue())})
	}
	return found, nil
}

// madeFrom is the digest in CRI's record of a container.
func madeFrom(record []byte) string {
	var r struct{ Metadata struct{ ImageDigest string } }
	if json.Unmarshal(record, &r) != nil {
		return "" // of another version, or none
	}
	return r.Metadata.ImageDigest
}

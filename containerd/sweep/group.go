package sweep

import (
	"slices"

	"github.com/touchmark/touchmark/containerd/node"
)

// pinnedLabel is CRI's label of images that the kubelet must not collect
// (containerd internal/cri/labels).
const pinnedLabel = "io.cri-containerd.pinned"

// group takes a namespace's names together that are one image.
func group(namespace string, records []node.Image, containers []node.Container) []Image {
	used := inUse(records, containers)
	var images []Image
	at := func(repository string, r node.Image) *Image {
		for i := range images {
			if images[i].Repository == repository && images[i].Digest == r.Digest {
				return &images[i]
			}
		}
		images = append(images, Image{Namespace: namespace, Names: []string{}, Repository: repository, Digest: r.Digest, InUse: used[r.Digest], mediaType: r.MediaType})
		return &images[len(images)-1]
	}
	var ids []node.Image
	for _, r := range records {
		n, err := node.ParseName(r.Name)
		repository := n.Repository
		switch {
		case err == node.ErrNoName:
			ids = append(ids, r)
			continue
		case err != nil, !n.Full:
			repository = ""
		}
		i := at(repository, r)
		i.Names = append(i.Names, r.Name)
		i.Pinned = i.Pinned || r.Labels[pinnedLabel] != ""
	}
	for _, r := range ids {
		found := false
		for i := range images {
			if images[i].Digest == r.Digest {
				images[i].IDs = append(images[i].IDs, r.Name)
				images[i].Pinned = images[i].Pinned || r.Labels[pinnedLabel] != ""
				found = true
			}
		}
		if !found {
			i := at("", r)
			i.IDs = append(i.IDs, r.Name)
		}
	}
	return images
}

// inUse are the digests of images that containers are made from. Of a container
// without a digest there is one of the image's names, which may lead elsewhere by now.
func inUse(records []node.Image, containers []node.Container) map[string]bool {
	used := make(map[string]bool)
	for _, c := range containers {
		if c.Digest != "" {
			used[c.Digest] = true
			continue
		}
		i := slices.IndexFunc(records, func(r node.Image) bool { return r.Name == c.Image })
		if i >= 0 {
			used[records[i].Digest] = true
		}
	}
	return used
}

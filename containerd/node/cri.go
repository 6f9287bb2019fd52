package node

import (
	"context"
	"encoding/json"
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CRIPull pulls an image as the kubelet has it pulled. The error has the
// verifier's reason. ref is what CRI knows the image by from then on.
func (n *Node) CRIPull(ctx context.Context, image string) (ref string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	answer, err := cri.NewImageServiceClient(n.conn).PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}})
	if err != nil {
		return "", n.fail("having CRI pull "+image, err)
	}
	return answer.GetImageRef(), nil
}

// CRIRemove removes an image with all names that it has in CRI's namespace. It is
// no error if there is none.
func (n *Node) CRIRemove(ctx context.Context, image string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := cri.NewImageServiceClient(n.conn).RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}}); err != nil {
		return n.fail("having CRI remove "+image, err)
	}
	return nil
}

// CRIHas reports whether CRI has an image, by a name, a digest or its own ID.
func (n *Node) CRIHas(ctx context.Context, image string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := cri.NewImageServiceClient(n.conn).ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: image}})
	if err != nil {
		return false, n.fail("whether CRI has "+image, err)
	}
	return answer.GetImage() != nil, nil
}

// CRI is what CRI's plugin says of itself.
type CRI struct {
	// Config is its configuration as the running daemon has it, defaults filled in,
	// in JSON: of the part that runs containers. In containerd 2, what is about images
	// is not in it.
	Config json.RawMessage
	// Ready are its conditions, such as RuntimeReady; NetworkReady is false on a
	// node without CNI.
	Ready map[string]bool
}

// CRIStatus asks CRI's plugin for its status and configuration.
func (n *Node) CRIStatus(ctx context.Context) (CRI, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := cri.NewRuntimeServiceClient(n.conn).Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return CRI{}, n.fail("the status of CRI", err)
	}
	c := CRI{Ready: make(map[string]bool)}
	if text := answer.GetInfo()["config"]; text != "" {
		if !json.Valid([]byte(text)) {
			return CRI{}, n.fail("the status of CRI", fmt.Errorf("its configuration is not JSON"))
		}
		c.Config = json.RawMessage(text)
	}
	for _, condition := range answer.GetStatus().GetConditions() {
		c.Ready[condition.GetType()] = condition.GetStatus()
	}
	return c, nil
}

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/api/services/content/v1"
)

// maxManifest bounds a manifest or index that is read, in bytes: as registries do.
const maxManifest = 4 << 20

// Manifest is the manifest or index with a digest, as the node has it. It is an
// error that matches fs.ErrNotExist if it has not.
func (n *Node) Manifest(ctx context.Context, namespace, digest string) ([]byte, error) {
	ctx, cancel := in(ctx, namespace, callTimeout)
	defer cancel()
	asked := fmt.Sprintf("the manifest %s in namespace %s", digest, namespace)
	stream, err := content.NewContentClient(n.conn).Read(ctx, &content.ReadContentRequest{Digest: digest, Size: maxManifest + 1})
	if err != nil {
		return nil, n.fail(asked, err)
	}
	var out bytes.Buffer
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err != nil {
			return nil, n.fail(asked, err)
		}
		if out.Len()+len(part.GetData()) > maxManifest {
			return nil, n.fail(asked, fmt.Errorf("it has more than %d bytes", maxManifest))
		}
		out.Write(part.GetData())
	}
}

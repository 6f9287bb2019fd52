package node

import (
	"context"
	"fmt"
	"runtime"

	transfer "github.com/containerd/containerd/api/services/transfer/v1"
	"github.com/containerd/containerd/api/types"
	transfertypes "github.com/containerd/containerd/api/types/transfer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Options are a transfer's.
type Options struct {
	PlainHTTP bool // where the registry has no hosts.toml; registries on loopback need it not
	// HostsDir is a directory of hosts.toml. ctr gives one with --hosts-dir; the
	// transfer service has none of its own.
	HostsDir string
}

// Transfer pulls an image for this machine's platform by the transfer service, as
// "ctr images pull" does: image verifiers are asked. It is not unpacked. The error
// has the verifier's reason.
func (n *Node) Transfer(ctx context.Context, namespace, ref string, o Options) error {
	source := &transfertypes.OCIRegistry{Reference: ref, Resolver: &transfertypes.RegistryResolver{HostDir: o.HostsDir}}
	if o.PlainHTTP {
		source.Resolver.DefaultScheme = "http"
	}
	asked := fmt.Sprintf("pulling %s into namespace %s", ref, namespace)
	from, err := pack(source)
	if err != nil {
		return n.fail(asked, err)
	}
	to, err := pack(&transfertypes.ImageStore{Name: ref, Platforms: []*types.Platform{{OS: "linux", Architecture: runtime.GOARCH}}})
	if err != nil {
		return n.fail(asked, err)
	}
	ctx, cancel := in(ctx, namespace, pullTimeout)
	defer cancel()
	if _, err := transfer.NewTransferClient(n.conn).Transfer(ctx, &transfer.TransferRequest{Source: from, Destination: to}); err != nil {
		return n.fail(asked, err)
	}
	return nil
}

// pack makes an Any as containerd reads it: its type is the message's bare name.
func pack(m proto.Message) (*anypb.Any, error) {
	value, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &anypb.Any{TypeUrl: string(m.ProtoReflect().Descriptor().FullName()), Value: value}, nil
}

package containerd

// Keeps modules in go.mod until their users have landed.
import (
	_ "github.com/containerd/containerd/api/services/transfer/v1"
	_ "github.com/containerd/containerd/v2/core/transfer"
	_ "github.com/containerd/containerd/v2/pkg/imageverifier"
	_ "github.com/containerd/nri/pkg/stub"
	_ "github.com/containerd/plugin/registry"
	_ "github.com/opencontainers/image-spec/specs-go/v1"
	_ "github.com/pelletier/go-toml/v2"
	_ "google.golang.org/grpc"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
)

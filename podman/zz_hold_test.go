package podman

// Keeps dependencies in go.mod until the packages that need them are here.
import (
	_ "github.com/coreos/go-systemd/v22/activation"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/rogpeppe/go-internal/diff"
	_ "go.podman.io/image/v5/pkg/docker/config"
	_ "go.podman.io/image/v5/pkg/sysregistriesv2"
	_ "go.podman.io/image/v5/pkg/tlsclientconfig"
	_ "golang.org/x/sys/unix"
)

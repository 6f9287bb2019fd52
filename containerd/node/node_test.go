package node_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	images "github.com/containerd/containerd/api/services/images/v1"
	transfer "github.com/containerd/containerd/api/services/transfer/v1"
	transfertypes "github.com/containerd/containerd/api/types/transfer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/touchmark/touchmark/containerd/node"
)

// daemon answers what it is told. A real one is asked in integration/containerdnri.
type daemon struct {
	transfer.UnimplementedTransferServer
	images.UnimplementedImagesServer
	fail     error
	asked    *transfer.TransferRequest
	metadata metadata.MD
}

func (d *daemon) Transfer(ctx context.Context, req *transfer.TransferRequest) (*emptypb.Empty, error) {
	d.asked = req
	d.metadata, _ = metadata.FromIncomingContext(ctx)
	return &emptypb.Empty{}, d.fail
}

func (d *daemon) List(ctx context.Context, _ *images.ListImagesRequest) (*images.ListImagesResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// serve serves a daemon on a socket with a short path.
func serve(t *testing.T, d *daemon) *node.Node {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctd")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "c.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	transfer.RegisterTransferServer(s, d)
	images.RegisterImagesServer(s, d)
	go func() { _ = s.Serve(l) }() // ends with Stop
	n, err := node.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close(); s.Stop(); _ = os.RemoveAll(dir) })
	return n
}

// A pull is asked for as ctr asks for it: the types are bare names, and the namespace is a header.
func TestTransfer(t *testing.T) {
	d := new(daemon)
	n := serve(t, d)
	if err := n.Transfer(t.Context(), "k8s.io", "r.example/app:1", node.Options{PlainHTTP: true, HostsDir: "/certs.d"}); err != nil {
		t.Fatal(err)
	}
	var source transfertypes.OCIRegistry
	if err := proto.Unmarshal(d.asked.GetSource().GetValue(), &source); err != nil {
		t.Fatal(err)
	}
	if d.asked.GetSource().GetTypeUrl() != "containerd.types.transfer.OCIRegistry" || d.asked.GetDestination().GetTypeUrl() != "containerd.types.transfer.ImageStore" ||
		source.GetReference() != "r.example/app:1" || source.GetResolver().GetDefaultScheme() != "http" || source.GetResolver().GetHostDir() != "/certs.d" {
		t.Errorf("%+v", d.asked)
	}
	if got := d.metadata.Get("containerd-namespace"); len(got) != 1 || got[0] != "k8s.io" {
		t.Errorf("namespace %q", got)
	}
}

// Errors name the socket and what was asked, and are bounded; what containerd does not offer is said as that.
func TestErrors(t *testing.T) {
	d := &daemon{fail: status.Error(codes.Unknown, strings.Repeat("x", 100_000)+" refused by touchmark: r.example/app is not signed")}
	n := serve(t, d)
	var e *node.Error
	err := n.Transfer(t.Context(), "default", "r.example/app:1", node.Options{})
	if !errors.As(err, &e) || e.Code != codes.Unknown || !strings.HasSuffix(e.Text, "is not signed") || len(err.Error()) > 5000 || !strings.Contains(err.Error(), "c.sock: pulling r.example/app:1") {
		t.Errorf("%.200v", err)
	}
	if _, err := n.CRIPull(t.Context(), "r.example/app:1"); err == nil || !strings.Contains(err.Error(), "does not offer that") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Images(ctx, "default"); !errors.As(err, &e) || e.Code != codes.Canceled {
		t.Errorf("%v", err)
	}
	if err := n.Remove(t.Context(), "default", node.Image{Name: "x"}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestDial(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for socket, says := range map[string]string{
		filepath.Join(dir, "none"): "there is no such socket", file: "nobody listens there", "/" + strings.Repeat("x", 200): "at most 107",
	} {
		var e *node.Error
		if _, err := node.Dial(t.Context(), socket); !errors.As(err, &e) || e.Code != codes.Unavailable || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), socket) {
			t.Errorf("%s: %v", socket, err)
		}
	}
}

// Package node is a containerd as its API shows it: what is loaded, which images
// and containers there are, and pulls by the ways that ask image verifiers.
//
//	n, err := node.Dial(ctx, "/run/containerd/containerd.sock")
//	defer n.Close()
//	images, err := n.Images(ctx, "k8s.io")
//	err = n.Transfer(ctx, "default", "registry.example/app:1", node.Options{})
//
// It speaks gRPC over containerd's unix socket: the services of containerd's own
// API (github.com/containerd/containerd/api), as of containerd 2, and CRI's
// (k8s.io/cri-api), which containerd serves at the same socket unless its CRI plugin
// is disabled. The socket is root's.
//
// Each call has a deadline of its own, besides the caller's. An [Error] names the
// socket and what was asked, and has containerd's own words.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	namespaces "github.com/containerd/containerd/api/services/namespaces/v1"
	version "github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// dialTimeout ends an attempt to connect: the socket is on this host.
	dialTimeout = 2 * time.Second
	// callTimeout ends a question that containerd answers from its own database.
	// One that takes longer has a disk that does not answer.
	callTimeout = 15 * time.Second
	// pullTimeout ends a pull, which may be one of gigabytes.
	pullTimeout = 10 * time.Minute
	// maxMessage bounds an answer, in bytes. It is containerd's own limit.
	maxMessage = 16 << 20
	// maxText bounds what is repeated of containerd's words in an error, in bytes. A
	// verifier's reason has up to 32 KiB, ours 600 bytes.
	maxText = 4 << 10
	// maxSocket bounds a socket's path, in bytes; the kernel's limit is 107.
	maxSocket = 107
)

// namespaceHeader says which of containerd's namespaces a call is about.
const namespaceHeader = "containerd-namespace"

// Error is what containerd, or the way to it, answered.
type Error struct {
	Socket string
	Asked  string // what was asked, such as "pulling registry.example/app:1"
	// Code is codes.Unavailable where containerd could not be reached.
	Code codes.Code
	Text string // containerd's own words, or the kernel's, of at most 4 KiB
}

// Error is "asking containerd at SOCKET: ASKED: TEXT".
func (e *Error) Error() string {
	if e.Asked == "" {
		return fmt.Sprintf("asking containerd at %s: %s", e.Socket, e.Text)
	}
	return fmt.Sprintf("asking containerd at %s: %s: %s", e.Socket, e.Asked, e.Text)
}

// Is makes an Error match fs.ErrNotExist where containerd does not have what was
// asked about, and fs.ErrPermission where the socket is another user's.
func (e *Error) Is(target error) bool {
	return target == fs.ErrNotExist && e.Code == codes.NotFound || target == fs.ErrPermission && e.Code == codes.PermissionDenied
}

// Node is a connection to one containerd. It may be used by many goroutines, and
// outlives a restart of containerd.
type Node struct {
	socket string
	conn   *grpc.ClientConn
}

// Dial connects to containerd's socket, and fails if nobody listens there.
func Dial(ctx context.Context, socket string) (*Node, error) {
	n := &Node{socket: socket}
	if len(socket) > maxSocket {
		return nil, n.unreachable(fmt.Errorf("the path has %d bytes, a socket's at most %d", len(socket), maxSocket))
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	dial := func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "unix", socket) }
	first, err := dial(ctx) // gRPC's own words for it are long, and late
	if err != nil {
		return nil, n.unreachable(err)
	}
	_ = first.Close() // nothing was said
	n.conn, err = grpc.NewClient("passthrough:///containerd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, n.unreachable(err)
	}
	return n, nil
}

// Close closes the connection.
func (n *Node) Close() error { return n.conn.Close() }

// unreachable is the error of a socket that does not lead to containerd, with what
// to do.
func (n *Node) unreachable(err error) error {
	e := &Error{Socket: n.socket, Code: codes.Unavailable, Text: err.Error()}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Text = codes.PermissionDenied, "permission denied: run as root"
	case errors.Is(err, fs.ErrNotExist):
		e.Text = "there is no such socket: containerd is not running, or listens elsewhere (grpc.address in its configuration)"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Text = "nobody listens there: containerd is not running"
	}
	return e
}

// fail makes an Error of what a call returned.
func (n *Node) fail(asked string, err error) error {
	s := status.Convert(err)
	text := s.Message()
	switch s.Code() {
	case codes.Unimplemented:
		text = "it does not offer that (" + text + "): the plugin is disabled, or this containerd is too old"
	case codes.DeadlineExceeded:
		text = "no answer in time"
	}
	return &Error{Socket: n.socket, Asked: asked, Code: s.Code(), Text: shorten(text)}
}

// shorten keeps the end of a long text, where containerd has the cause.
func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	return "... " + text[len(text)-maxText:]
}

// in is a context for a call about one namespace.
func in(ctx context.Context, namespace string, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(metadata.AppendToOutgoingContext(ctx, namespaceHeader, namespace), limit)
}

// Version says which containerd that is: "v2.4.2" and the commit.
func (n *Node) Version(ctx context.Context) (release, revision string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := version.NewVersionClient(n.conn).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return "", "", n.fail("its version", err)
	}
	return v.GetVersion(), v.GetRevision(), nil
}

// Server says which process that is.
func (n *Node) Server(ctx context.Context) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := introspection.NewIntrospectionClient(n.conn).Server(ctx, &emptypb.Empty{})
	if err != nil {
		return 0, n.fail("its process", err)
	}
	return int(s.GetPid()), nil
}

// Plugin is a part of containerd that was loaded, or could not be. One that is
// disabled is not listed.
type Plugin struct {
	Type    string            // io.containerd.image-verifier.v1
	ID      string            // bindir
	InitErr string            // why it can't be used; "" if it can
	Exports map[string]string // what it tells of its configuration; most tell nothing
}

// Plugins are those of the running containerd. Not all of them have errors that
// matter: snapshotters that the host's disk does not support have one.
func (n *Node) Plugins(ctx context.Context) ([]Plugin, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := introspection.NewIntrospectionClient(n.conn).Plugins(ctx, &introspection.PluginsRequest{})
	if err != nil {
		return nil, n.fail("its plugins", err)
	}
	var plugins []Plugin
	for _, p := range answer.GetPlugins() {
		plugins = append(plugins, Plugin{Type: p.GetType(), ID: p.GetID(), InitErr: shorten(p.GetInitErr().GetMessage()), Exports: p.GetExports()})
	}
	return plugins, nil
}

// Namespaces are those of images and containers: "k8s.io" is CRI's, "default"
// ctr's, "moby" Docker's. Each has images of its own.
func (n *Node) Namespaces(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := namespaces.NewNamespacesClient(n.conn).List(ctx, &namespaces.ListNamespacesRequest{})
	if err != nil {
		return nil, n.fail("its namespaces", err)
	}
	var names []string
	for _, ns := range answer.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	return names, nil
}

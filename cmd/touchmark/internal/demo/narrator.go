package demo

import (
	"fmt"
	"io"
	"strings"
)

// narrator prints the story: plain text, with colours on a terminal.
type narrator struct {
	out   io.Writer
	color bool
	step  int
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (n *narrator) paint(color, s string) string {
	if !n.color {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

func (n *narrator) opening(w *world) {
	fmt.Fprintf(n.out, `%s

A registry, a private Sigstore and a verifying proxy run in this process, on
loopback only. The policy: images of %s must be signed by %s.

  registry  http://%s
  sigstore  %s
  proxy     http://%s
`, n.paint(bold, "Touchmark: only images signed by the right people can be pulled"),
		w.registry, alice, w.registry, w.sigstore, w.proxy)
}

func (n *narrator) title(s string) {
	n.step++
	fmt.Fprintf(n.out, "\n%s\n", n.paint(bold, fmt.Sprintf("%d. %s", n.step, s)))
}

// does is something that the demo does.
func (n *narrator) does(format string, args ...any) {
	fmt.Fprintf(n.out, "   %s\n", n.paint(dim, "> "+fmt.Sprintf(format, args...)))
}

// sees is what came of it, as it must.
func (n *narrator) sees(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n     ")
	fmt.Fprintf(n.out, "   %s %s\n", n.paint(green, "ok"), text)
}

// tells adds a detail.
func (n *narrator) tells(format string, args ...any) {
	fmt.Fprintf(n.out, "      %s\n", fmt.Sprintf(format, args...))
}

func (n *narrator) failed(err error) {
	fmt.Fprintf(n.out, "   %s %v\n", n.paint(red, "NOT AS IT MUST BE:"), err)
}

func (n *narrator) closing(w *world) {
	fmt.Fprintf(n.out, "\n%s\n", n.paint(bold, "Every step went as it must."))
}

func (n *narrator) commands(w *world) {
	fmt.Fprintf(n.out, `
Everything keeps running until you press Ctrl-C. To try it yourself, from another
terminal (hello:2 is the image that alice signed, hello:1 was moved in step 4):

  # why it may run
  ./bin/touchmark explain --policy %[1]s --trusted-root %[2]s %[3]s/acme/hello:2

  # pull through the proxy with any client: hello:2 is admitted, hello:1 refused
  crane pull --insecure %[5]s/acme/hello:2 hello.tar
  skopeo copy --src-tls-verify=false docker://%[5]s/acme/hello:2 dir:hello
  podman pull --tls-verify=false %[5]s/acme/hello:2
  skopeo copy --src-tls-verify=false docker://%[5]s/acme/hello:1 dir:moved

  # sign the refused one, as alice; a second later it is admitted
  ./bin/touchmark sign --server %[4]s --as %[6]s --trusted-root %[2]s %[3]s/acme/hello:1

  # verify with cosign
  cosign verify --allow-http-registry --trusted-root %[2]s \
    --certificate-identity %[6]s --certificate-oidc-issuer %[4]s \
    %[3]s/acme/hello:2
`, w.policyFile, w.rootFile, w.registry, w.sigstore, w.proxy, alice)
}

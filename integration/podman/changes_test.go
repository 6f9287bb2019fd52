package podman_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// task is what people do with images beside pulling and running them. It is a script: $IMAGE is a signed image, $SAME and $OTHER are namespaces of its registry
// and of another one, $OUT is an empty directory.
type task struct {
	name, script string
	// flag is what Touchmark's users have to put in the place of each "@", and says what happens to those who don't: an error, or that something more is left.
	flag, says string
}

const (
	remove       = "--remove-signatures"
	wouldChange  = "Would invalidate signatures"
	notSupported = "Can not copy signatures"
	notStaged    = "permission denied" // where root's signatures are staged
)

var tasks = []task{
	{"podman: pull, tag, push", `
		podman pull -q $IMAGE
		for to in $SAME/tagged $OTHER/tagged; do podman tag $IMAGE $to:1; podman push -q @ $to:1; done`, remove, wouldChange},
	{"podman: push --sign-by", `
		podman pull -q $IMAGE
		podman push -q @ --sign-by owner@acme.example $IMAGE $OTHER/signed:1`, remove, wouldChange},
	{"buildah: pull, push", `
		buildah pull -q $IMAGE
		buildah push -q @ $IMAGE docker://$OTHER/pushed:1`, remove, wouldChange},
	{"podman: save", `
		podman pull -q $IMAGE
		podman save -q -o $OUT/docker.tar $IMAGE
		podman save -q --format oci-archive -o $OUT/oci.tar $IMAGE
		podman save -q --format oci-dir -o $OUT/oci $IMAGE
		podman save -q --format docker-dir -o $OUT/dir $IMAGE`, "", ""},
	{"buildah: build from, push", `
		printf 'FROM %s\nCOPY new /new\n' $IMAGE >$OUT/Containerfile
		echo new >$OUT/new
		for to in $SAME/built $OTHER/built; do
			buildah build -q --timestamp 0 -t $to:1 $OUT
			buildah push -q $to:1 docker://$to:1
		done`, "", ""},
	{"podman: build from, run", `
		printf 'FROM %s\nRUN ["/bin/busybox", "cp", "/message", "/copy"]\nCMD ["/bin/busybox", "cat", "/copy"]\n' $IMAGE >$OUT/Containerfile
		podman build -q --network none -t localhost/built:1 $OUT
		podman run --rm --network none localhost/built:1`, "", ""},
	{"skopeo: copy to a registry", `
		skopeo copy -q @ docker://$IMAGE docker://$SAME/copied:1
		skopeo copy -q @ docker://$IMAGE docker://$OTHER/copied:1`, remove, notStaged},
	{"skopeo: copy to an OCI layout", `skopeo copy -q @ docker://$IMAGE oci:$OUT/layout:1`, remove, notSupported},
	{"skopeo: copy to an archive", `skopeo copy -q @ docker://$IMAGE docker-archive:$OUT/archive.tar:app:1`, remove, notSupported},
	{"skopeo: copy to an OCI archive", `skopeo copy -q @ docker://$IMAGE oci-archive:$OUT/archive.tar:1`, remove, notSupported},
	{"skopeo: copy to a directory", `skopeo copy -q @ docker://$IMAGE dir:$OUT/dir`, remove, "signature-1"},
	{"skopeo: sync", `
		skopeo sync @ --src docker --dest docker $IMAGE $SAME/synced >/dev/null
		skopeo sync @ --src docker --dest docker $IMAGE $OTHER/synced >/dev/null`, remove, notStaged},
	{"skopeo: sync to a directory", `skopeo sync @ --src docker --dest dir $IMAGE $OUT >/dev/null`, remove, "signature-1"},
	{"skopeo: inspect", `skopeo inspect --no-tags docker://$IMAGE`, "", ""},
}

// done is what work leaves behind.
type done struct {
	Status int
	Stdout string
	Sent   []string // to the registries
	Files  []string // in $OUT, with their sums; of archives what is in them
}

// keys makes owner@acme.example's key, for --sign-by.
const keys = `gpg -q --batch --passphrase '' --quick-gen-key owner@acme.example rsa2048 sign never`

// listing lists files and their sums. Archives hold times, and are unpacked first.
const listing = `
	cd "$OUT"
	for f in *.tar; do [ ! -f "$f" ] || { mkdir "$f.d" && tar -C "$f.d" -xf "$f" && rm "$f"; }; done
	find . -type f | sort | xargs -r sha256sum`

// do does the work as a user of a host, and sends what there is to send into a namespace of its own.
func (s *site) do(t *testing.T, a lab.Account, image, namespace, script string) (d done, said string) {
	t.Helper()
	out := a.Home + "/out"
	env := fmt.Sprintf("export IMAGE=%s SAME=%s/%s OTHER=%s/%s OUT=%s\n", image, s.registry.Host, namespace, s.other.Host, namespace, out)
	r := a.Run(t, "sh", "-c", env+"set -e; mkdir $OUT; cd $OUT\n"+script)
	d = done{Status: r.Status, Stdout: withoutIDs.ReplaceAllString(r.Stdout, "ID"), Sent: append(s.registry.sent(namespace), s.other.sent(namespace)...)}
	d.Files = strings.Split(a.Must(t, 0, "sh", "-c", env+listing).Stdout, "\n")
	slices.Sort(d.Files)
	a.Must(t, 0, "sh", "-c", "podman rmi -af >/dev/null; rm -rf "+out)
	return d, r.Output()
}

// withoutIDs are names that differ each time, such as of images that hold the time at which they were made.
var withoutIDs = regexp.MustCompile(`[0-9a-f]{64}`)

// On a host with Touchmark everything else leaves the same behind as on one without: files, and what registries get. Where a client can't do that, it says so,
// and the flag that is documented helps.
func TestNothingElseChanges(t *testing.T) {
	s := newSite(t)
	image := s.push(t, "team/app", alice)
	for _, system := range []lab.System{lab.Debian12, lab.Debian13} {
		plain, enforcing := s.host(t, system), s.host(t, system)
		s.enforce(t, enforcing.Root())
		for _, user := range []func(*lab.Host) lab.Account{(*lab.Host).Root, (*lab.Host).Alice} {
			before, after := user(plain), user(enforcing)
			t.Run(string(system)+"/"+before.Name, func(t *testing.T) {
				t.Parallel()
				for _, a := range []lab.Account{before, after} {
					a.Must(t, 0, "sh", "-c", keys)
				}
				for i, w := range tasks {
					t.Run(w.name, func(t *testing.T) {
						namespace := fmt.Sprintf("%s-%d-%s", before.Name, i, system[len(system)-2:])
						without := strings.ReplaceAll(w.script, "@ ", "")
						want, said := s.do(t, before, image, namespace+"-before", without)
						if want.Status != 0 {
							t.Fatalf("it does not work without Touchmark either: %s", said)
						}
						flag, rootless := w.flag, w.says == notStaged // as root, no flag is needed then
						if rootless && after.UID == 0 {
							flag = ""
						}
						if flag != "" {
							got, said := s.do(t, after, image, namespace+"-alone", without)
							if !strings.Contains(said+strings.Join(got.Files, "\n"), w.says) || len(got.Sent) > 0 && !rootless {
								t.Errorf("without %s: status %d, want %q: %s\n%s\n%s", flag, got.Status, w.says, said, got.Files, got.Sent)
							}
						}
						got, said := s.do(t, after, image, namespace+"-after", strings.ReplaceAll(w.script, "@ ", flag+" "))
						if diff := cmp.Diff(want, got); diff != "" {
							t.Errorf("%s\n%s", diff, said)
						}
					})
				}
			})
		}
	}
}

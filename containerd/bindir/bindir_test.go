package bindir_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/touchmark/touchmark/containerd/bindir"
	"github.com/touchmark/touchmark/core/gate/ask"
)

const (
	hex      = "2ca29c9c1d948280cb14fdaf2c898deac659d206904a60f298dea2972725a5cd"
	digest   = "sha256:" + hex
	manifest = "application/vnd.oci.image.manifest.v1+json"
	kind     = "application/vnd.oci.descriptor.v1+json"
	image    = "registry.example/app:1"
)

// asker answers by a function.
type asker func(context.Context, ask.Question) ask.Answer

func (a asker) Ask(ctx context.Context, q ask.Question) ask.Answer { return a(ctx, q) }

// yes admits everything, so that what is refused is refused for the question.
var yes = asker(func(_ context.Context, q ask.Question) ask.Answer {
	return ask.Answer{Outcome: ask.Admitted, Code: "admitted", Repository: q.Repository, Digest: q.Digest}
})

func descriptor(mediaType, digest, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":348%s}`+"\n", mediaType, digest, more)
}

func args(name string) []string {
	return []string{"-name", name, "-digest", digest, "-stdin-media-type", kind}
}

func run(t *testing.T, a bindir.Asker, args []string, stdin io.Reader) (int, string) {
	t.Helper()
	var out strings.Builder
	status := bindir.Run(t.Context(), bindir.Host{Asker: a, Timeout: time.Minute}, args, stdin, &out, io.Discard)
	return status, out.String()
}

// Names, digests and descriptors that are not as containerd writes them are refused
// in one sentence (CTRD-02, CTRD-03, CTRD-07).
func TestCTRD07_Questions(t *testing.T) {
	good := descriptor(manifest, digest, "")
	other := "sha256:" + strings.Repeat("b", 64)
	for what, c := range map[string]struct {
		args  []string
		stdin string
		says  string // "" is admitted
	}{
		"a tag":                        {args(image), good, ""},
		"a digest":                     {args("registry.example/app@" + digest), good, ""},
		"both":                         {args("registry.example:5000/a/b:1@" + digest), good, ""},
		"localhost":                    {args("localhost/x:1"), good, ""},
		"Docker Hub":                   {args("docker.io/library/busybox:1"), good, ""},
		"an index":                     {args(image), descriptor("application/vnd.oci.image.index.v1+json", digest, ""), ""},
		"annotations":                  {args(image), descriptor(manifest, digest, `,"annotations":{"a":"b"},"platform":{"os":"linux"}`), ""},
		"another order":                {[]string{"-digest", digest, "-name", image, "-stdin-media-type", kind}, good, ""},
		"no registry":                  {args("busybox:1"), good, "does not begin with a registry"},
		"Docker Hub by a short name":   {args("library/busybox:1"), good, "does not begin with a registry"},
		"no tag":                       {args("registry.example/app"), good, "with a tag or a digest"},
		"upper case":                   {args("registry.example/App:1"), good, "is not an image's name"},
		"a dash":                       {args("-rf/x:1"), good, "does not begin with a registry"},
		"a flag for a name":            {args("--digest=registry.example/x"), good, "is not an image's name"},
		"dots":                         {args("registry.example/a/../b:1"), good, "-name: "},
		"a NUL":                        {args("registry.example/a\x00b:1"), good, "is not an image's name"},
		"10 KiB":                       {args("registry.example/" + strings.Repeat("a", 10<<10) + ":1"), good, "has 10259 bytes"},
		"a line break":                 {args("registry.example/a\nb:1"), good, "is not an image's name"},
		"a URL":                        {args("https://registry.example/app:1"), good, "is not an image's name"},
		"another digest in the name":   {args("registry.example/app@" + other), good, "disagree"},
		"nothing":                      {nil, good, "-name is missing"},
		"no value":                     {args(image)[:5], good, "-stdin-media-type has no value"},
		"an empty name":                {args(""), good, "-name is missing"},
		"a name twice":                 {append(args(image), "-name", image), good, "-name is given twice"},
		"another flag":                 {append(args(image), "-policy", "none"), good, `argument "-policy"`},
		"a name with =":                {[]string{"-name=" + image}, good, `argument "-name=`},
		"another kind of input":        {append(args(image)[:5], "text/plain"), good, `"text/plain"`},
		"SHA-512":                      {[]string{"-name", image, "-digest", "sha512:" + hex + hex, "-stdin-media-type", kind}, good, "is not a SHA-256 digest"},
		"a digest in upper case":       {[]string{"-name", image, "-digest", strings.ToUpper(digest), "-stdin-media-type", kind}, good, "is not a SHA-256 digest"},
		"no descriptor":                {args(image), "", "is missing"},
		"garbage":                      {args(image), "garbage", "malformed JSON"},
		"half a descriptor":            {args(image), good[:40], "malformed JSON"},
		"two descriptors":              {args(image), good + good, "descriptor"},
		"a digest twice":               {args(image), descriptor(manifest, digest, `,"digest":"`+other+`"`), "descriptor"},
		"a digest that disagrees":      {args(image), descriptor(manifest, other, ""), "and -digest about"},
		"a digest in another spelling": {args(image), strings.Replace(good, `"digest"`, `"Digest"`, 1), "and -digest about"},
		"a layer":                      {args(image), descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest, ""), "which is not an image's"},
		"no media type":                {args(image), descriptor("", digest, ""), "which is not an image's"},
		"no size":                      {args(image), strings.Replace(good, "348", "0", 1), "0 bytes"},
		"1 MiB":                        {args(image), descriptor(manifest, digest, `,"annotations":{"a":"`+strings.Repeat("a", 1<<20)+`"}`), "larger than 65536 bytes"},
		"a list":                       {args(image), "[" + good + "]", "descriptor"},
	} {
		status, out := run(t, yes, c.args, strings.NewReader(c.stdin))
		switch {
		case c.says == "":
			if status != 0 || out != "" {
				t.Errorf("%s: status %d: %s", what, status, out)
			}
		case status != 1, !strings.HasPrefix(out, "refused by touchmark: "), !strings.Contains(out, c.says), strings.Count(out, "\n") != 1, len(out) > 1024:
			t.Errorf("%s: status %d, %q; want a line that says %q", what, status, out, c.says)
		}
	}
}

// What policies speak of is the logical name; where containerd looks is said as it
// calls it.
func TestParse(t *testing.T) {
	for name, want := range map[string][2]string{
		"docker.io/library/busybox:1":     {"docker.io/library/busybox", "docker.io/library/busybox"},
		"registry.example:443/app:1":      {"registry.example/app", "registry.example:443/app"},
		"127.0.0.1:5000/a/b:1@" + digest:  {"127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b"},
		"registry.example/app@" + digest:  {"registry.example/app", "registry.example/app"},
		"registry.example:5000/app:1-2_3": {"registry.example:5000/app", "registry.example:5000/app"},
	} {
		q, err := bindir.Parse(args(name), strings.NewReader(descriptor(manifest, digest, "")))
		if err != nil || q.Repository != want[0] || q.Physical != want[1] || q.Digest != digest || q.MediaType != manifest || q.ParentsKnown == strings.Contains(name, "@") {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
	}
}

func TestCTRD01_Reasons(t *testing.T) {
	for what, c := range map[string]struct {
		verdict ask.Answer
		want    string
	}{
		"refused":   {ask.Answer{Outcome: ask.Refused, Reason: "registry.example/app is not signed"}, "refused by touchmark: registry.example/app is not signed\n"},
		"undecided": {ask.Answer{Outcome: ask.Undecided, Repository: "r", Digest: "d", Reason: "cannot decide about r@d: 503"}, "touchmark cannot decide: 503\n"},
		"no answer": {ask.Answer{}, "touchmark cannot decide:\n"},
		"two lines": {ask.Answer{Outcome: ask.Refused, Reason: "a\nb\x1b[31m\u202ec"}, "refused by touchmark: a b\uFFFD[31m\uFFFDc\n"},
	} {
		status, out := run(t, asker(func(context.Context, ask.Question) ask.Answer { return c.verdict }), args(image), strings.NewReader(descriptor(manifest, digest, "")))
		if status != 1 || out != c.want {
			t.Errorf("%s: status %d, %q, want %q", what, status, out, c.want)
		}
	}
	if long := bindir.OneLine(strings.Repeat("ä", 5000)); len(long) > 600 || !utf8.ValidString(long) || !strings.HasSuffix(long, "ä...") {
		t.Errorf("%d bytes: %q", len(long), long[len(long)-10:])
	}
}

// It ends before containerd kills it, and says what it waited for.
func TestCTRD04_Deadline(t *testing.T) {
	never := asker(func(context.Context, ask.Question) ask.Answer { select {} })
	input, _ := io.Pipe() // never closed
	for says, c := range map[string]struct {
		asker bindir.Asker
		stdin io.Reader
	}{
		"the decision about registry.example/app":                 {never, strings.NewReader(descriptor(manifest, digest, ""))},
		"containerd, which has not sent the image's descriptor\n": {yes, input},
	} {
		var out strings.Builder
		status := bindir.Run(t.Context(), bindir.Host{Asker: c.asker, Timeout: 50 * time.Millisecond}, args(image), c.stdin, &out, io.Discard)
		if status != 1 || !strings.HasPrefix(out.String(), "touchmark cannot decide: no answer within 50ms from "+says) {
			t.Errorf("status %d, %q", status, out.String())
		}
	}
}

// A panic is no admission, and has a reason (CTRD-08).
func TestCTRD08_Panic(t *testing.T) {
	status, out := run(t, asker(func(context.Context, ask.Question) ask.Answer { panic("nil map") }), args(image), strings.NewReader(descriptor(manifest, digest, "")))
	if status != 1 || out != "touchmark cannot decide: internal error: nil map\n" {
		t.Errorf("status %d, %q", status, out)
	}
}

// A host that only observes admits everything, and says what it would not have.
func TestObserve(t *testing.T) {
	verdict := func(v ask.Answer) bindir.Asker {
		return asker(func(context.Context, ask.Question) ask.Answer { return v })
	}
	for what, c := range map[string]struct {
		asker bindir.Asker
		stdin string
		says  string
	}{
		"admitted":  {yes, descriptor(manifest, digest, ""), ""},
		"refused":   {verdict(ask.Answer{Outcome: ask.Refused, Reason: "not signed"}), descriptor(manifest, digest, ""), "enforcing would say: refused by touchmark: not signed"},
		"an outage": {verdict(ask.Answer{Outcome: ask.Undecided, Reason: "503"}), descriptor(manifest, digest, ""), "enforcing would say: touchmark cannot decide: 503"},
		"too late":  {asker(func(context.Context, ask.Question) ask.Answer { select {} }), descriptor(manifest, digest, ""), "no answer within 50ms"},
		"no image":  {yes, "garbage", "the descriptor on standard input"},
		"by the agent": {verdict(ask.Answer{Outcome: ask.Admitted, Code: ask.CodeObserved, Reason: "admitted, because a policy only observes"}),
			descriptor(manifest, digest, ""), "touchmark: admitted, because a policy only observes"},
	} {
		var out, log strings.Builder
		h := bindir.Host{Asker: c.asker, Timeout: 50 * time.Millisecond, Observe: true}
		status := bindir.Run(t.Context(), h, args(image), strings.NewReader(c.stdin), &out, &log)
		if status != 0 || out.Len() > 0 || !strings.Contains(log.String(), c.says) || (log.Len() == 0) != (c.says == "") || strings.Count(log.String(), "\n") > 1 {
			t.Errorf("%s: status %d, %q, %q", what, status, out.String(), log.String())
		}
	}
}

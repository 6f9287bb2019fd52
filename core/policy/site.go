package policy

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/tlog"
)

// Limits of Enforcement documents.
const (
	maxWitnesses = 64
	maxEntries   = 10_000 // revocations, exceptions, pins
	maxSigners   = 100    // OpenPGP
)

// MaxException is for how long an exception may be made. Whoever needs one for
// longer needs a policy, or a pin.
const MaxException = 90 * 24 * time.Hour

// maxSignatureAge bounds the oldest acceptable signature: Sigstore began in 2021.
const maxSignatureAge = 100 * 365 * 24 * time.Hour

// enforcement reads a document of our own kind into the set's.
func (a *assembly) enforcement(doc value) {
	f := doc.fields("apiVersion", "kind", "metadata", "spec")
	if meta, ok := f.get("metadata"); ok {
		meta.fields("name").text("name")
	}
	spec, ok := f.require("spec")
	if !ok {
		return
	}
	e := a.out.Enforcement
	g := spec.fields("mode", "unmatched", "index", "witnesses", "maxSignatureAge", "revocations", "exceptions", "pins", "openpgp")
	for _, name := range []string{"mode", "unmatched", "index", "witnesses", "maxSignatureAge"} {
		if v, ok := g.get(name); ok {
			a.onlyOnce(a.once, name, v, name)
		}
	}
	if g.has("mode") {
		e.Mode = g.mode("mode")
	}
	if v, ok := g.get("unmatched"); ok {
		u := v.fields("action", "mode")
		if action, ok := u.require("action"); ok {
			e.Unmatched.InsecureAdmit = action.choice("refuse", "insecureAdmit") == "insecureAdmit"
		}
		if e.Unmatched.Mode = u.mode("mode"); e.Unmatched.InsecureAdmit && u.has("mode") {
			v.fail("mode has no meaning beside action: insecureAdmit, which refuses nothing")
		}
	}
	if v, ok := g.get("index"); ok {
		e.Index = IndexRule(v.choice(string(IndexOrPlatform), string(IndexOnly), string(PlatformOnly), string(IndexAndPlatform)))
	}
	if v, ok := g.get("witnesses"); ok {
		e.Witnesses = readQuorum(v)
	}
	if v, ok := g.get("maxSignatureAge"); ok {
		e.MaxSignatureAge = v.duration()
	}
	for _, v := range g.list("revocations", maxEntries) {
		e.Revocations = append(e.Revocations, readRevocation(v))
	}
	for _, v := range g.list("exceptions", maxEntries) {
		e.Exceptions = append(e.Exceptions, readException(v))
	}
	for _, v := range g.list("pins", maxEntries) {
		e.Pins = append(e.Pins, readPin(v))
	}
	for _, v := range g.list("openpgp", maxSigners) {
		a.addPolicy(v, a.readOpenPGP(v))
	}
}

func readQuorum(v value) Quorum {
	f := v.fields("quorum", "keys")
	var q Quorum
	seen := make(map[string]bool)
	for _, key := range f.requireList("keys", maxWitnesses) {
		text := key.text()
		if text == "" {
			continue
		}
		w, err := tlog.ParseWitness(text)
		if err != nil {
			key.fail("%v", err)
			continue
		}
		if seen[string(w.Key)] {
			key.fail("this key stands twice; a witness counts once")
		}
		seen[string(w.Key)] = true
		q.Witnesses = append(q.Witnesses, w)
	}
	if n, ok := f.require("quorum"); ok {
		q.N = n.number(1, maxWitnesses)
		if keys, ok := f.get("keys"); ok && q.N > len(keys.node.Content) {
			n.fail("is %d, but there are %d witnesses: nothing could ever meet it", q.N, len(keys.node.Content))
		}
	}
	return q
}

func readRevocation(v value) Revocation {
	f := v.fields("image", "identity", "key", "from", "until", "reason")
	r := Revocation{Reason: f.requireText("reason")}
	kind := f.exactlyOne("image", "identity", "key")
	what, _ := f.get(kind)
	switch kind {
	case "image":
		repository, digest := what.image()
		if repository != "" {
			what.fail("a revoked image is revoked wherever it lies; write %s alone", digest)
		}
		r.Digest = digest
		for _, bound := range []string{"from", "until"} {
			if b, ok := f.get(bound); ok {
				b.fail("has no meaning for an image; it is about when signatures were made")
			}
		}
		return r
	case "identity":
		r.Identity, _ = readIdentity(what, false)
	case "key":
		text := what.text()
		if text == "" {
			break
		}
		pub, err := parsePublicKey(text)
		if err != nil {
			what.fail("%v", err)
		}
		r.Key = pub
	}
	r.From, r.Until = f.time("from", startOfDay), f.time("until", endOfDay)
	if !r.From.IsZero() && !r.Until.IsZero() && r.Until.Before(r.From) {
		v.fail("until lies before from: nothing would be revoked")
	}
	return r
}

func readException(v value) Exception {
	f := v.fields("image", "reason", "by", "expires")
	x := Exception{Reason: f.requireText("reason"), By: f.requireText("by")}
	if image, ok := f.require("image"); ok {
		x.Repository, x.Digest = image.image()
	}
	expires, ok := f.require("expires")
	if !ok {
		return x
	}
	if x.Expires = expires.time(endOfDay); x.Expires.After(v.r.options.now().Add(MaxException)) {
		expires.fail("%s is more than 90 days ahead", expires.node.Value)
	}
	return x
}

func readPin(v value) Pin {
	f := v.fields("image", "reason", "by", "review")
	p := Pin{Reason: f.text("reason"), By: f.text("by"), Review: f.time("review", endOfDay)}
	if image, ok := f.require("image"); ok {
		p.Repository, p.Digest = image.image()
	}
	return p
}

// readOpenPGP reads signers of simple signatures, which become a policy like
// any other.
func (a *assembly) readOpenPGP(v value) *Policy {
	f := v.fields("name", "images", "mode", "key", "file", "lookaside")
	p := &Policy{Name: f.requireText("name"), Mode: f.mode("mode")}
	if name, ok := f.get("name"); ok {
		a.onlyOnce(a.names, "policy "+p.Name, name, fmt.Sprintf("the name %q", p.Name))
	}
	p.readGlobs(f)
	signer := &OpenPGP{Lookaside: f.requireText("lookaside")}
	switch f.exactlyOne("key", "file") {
	case "key":
		signer.Keyring = []byte(f.text("key"))
	case "file":
		file, _ := f.get("file")
		if path := file.text(); path != "" {
			signer.Keyring = file.fetch(a.r.path(path))
		}
	}
	p.Authorities = []*Authority{{Name: p.Name, OpenPGP: signer}}
	return p
}

// digestOnly is an image's digest.
var digestOnly = regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)

// image reads a digest, or a repository and a digest. A tag can be moved to
// another image, and a glob is about images that nobody has seen yet: neither
// can be what somebody has looked at and decided about.
func (v value) image() (repository, digest string) {
	text := v.text()
	if text == "" {
		return "", ""
	}
	repository, digest, err := ParseImage(text)
	if err != nil {
		v.fail("%v", err)
	}
	return repository, digest
}

// ParseImage reads "sha256:..." or "repository@sha256:...", and gives the
// repository its logical name; it is empty for a digest alone. Tags and globs
// are errors.
func ParseImage(text string) (repository, digest string, err error) {
	repository, digest, found := strings.Cut(text, "@")
	if !found {
		repository, digest = "", text
	}
	if !digestOnly.MatchString(digest) {
		return "", "", fmt.Errorf("%q is not sha256:<64 hex digits>, nor a repository with @sha256:<64 hex digits> behind: a tag or a glob may come to mean another image", text)
	}
	if !found {
		return "", digest, nil
	}
	if repository, err = logicalRepository(repository); err != nil {
		return "", "", err
	}
	return repository, digest, nil
}

// boundary says which moment of a day is meant by a date alone.
type boundary int

const (
	startOfDay boundary = iota
	endOfDay
)

func (f fields) time(name string, b boundary) time.Time {
	if v, ok := f.get(name); ok {
		return v.time(b)
	}
	return time.Time{}
}

// time reads a date, or a time as RFC 3339 has it. A date is a day in UTC.
func (v value) time(b boundary) time.Time {
	tag := v.node.ShortTag()
	if v.node.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!timestamp" {
		v.wrongType("a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")
		return time.Time{}
	}
	t, err := ParseTime(v.node.Value, b == endOfDay)
	if err != nil {
		v.fail("%v", err)
	}
	return t
}

// ParseTime reads a date, which is a day in UTC, or a time as RFC 3339 has it.
// Of a date alone it returns the first moment, or the last second.
func ParseTime(text string, end bool) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		if end {
			day = day.Add(24*time.Hour - time.Second)
		}
		return day, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a date such as 2027-01-31 nor a time such as 2027-01-31T12:00:00Z", text)
	}
	return t.UTC(), nil
}

// duration reads how old something may be.
func (v value) duration() time.Duration {
	text := v.text()
	if text == "" {
		return 0
	}
	d, err := configfile.ParseDuration(text)
	switch {
	case err != nil:
		v.fail("%v", err)
	case d <= 0 || d > maxSignatureAge:
		v.fail("%q is not above 0 and below 100 years", text)
	}
	return d
}

package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/situations"
)

// references are those that a manifest can be asked for by.
func references(i *situations.Image) []string {
	if strings.Contains(i.Reference(), "@") {
		return []string{i.Digest}
	}
	return []string{"1", i.Digest}
}

// enforced holds everything that a proxy says about an image over HTTP against what is right.
func (f *fronts) enforced(t *testing.T, i *situations.Image) error {
	want, _ := i.At("proxy")
	var manifests []func() error
	for _, reference := range references(i) {
		manifests = append(manifests, func() error { return f.manifest(t, i, reference, want) })
	}
	blobs := func() error { return f.blobs(t, i, want) }
	if waits(i) { // many seconds for each
		return together(append(manifests, blobs)...)
	}
	if err := together(manifests...); err != nil {
		return err
	}
	return blobs()
}

// manifest asks for a manifest by GET and HEAD, by name and as nobody.
func (f *fronts) manifest(t *testing.T, i *situations.Image, reference string, want situations.Want) error {
	var head, get, anonymous answer
	asks := func(into *answer, method, user string) func() error {
		return func() (err error) {
			*into, err = f.ask(t, i, method, "manifests/"+reference, user)
			return err
		}
	}
	err := together(asks(&head, http.MethodHead, reader), asks(&get, http.MethodGet, reader), asks(&anonymous, http.MethodGet, ""))
	if err != nil {
		return err
	}
	if get.status != http.StatusOK { // how long it took to decide is in the body
		head.header.Del("Content-Length")
		get.header.Del("Content-Length")
	}
	if head.status != get.status || !maps.EqualFunc(head.header, get.header, slices.Equal) || len(head.body) > 0 {
		err = fmt.Errorf("HEAD: %d %v, and %d bytes; GET: %d %v", head.status, head.header, len(head.body), get.status, get.header)
	}
	if want.Outcome == gate.OutcomeAdmitted {
		return errors.Join(err, served(i, get), served(i, anonymous))
	}
	told := want
	told.Attempt = "" // nobody in particular is told the code alone
	return errors.Join(err, refused(i, get, want), refused(i, anonymous, told), redacted(anonymous))
}

// served says what is wrong with an answer that has to be an image's manifest.
func served(i *situations.Image, a answer) error { return serves(i.Digest, a) }

// serves says what is wrong with an answer that has to be the manifest that was asked for. Where that was by tag, any will do.
func serves(reference string, a answer) error {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(a.body))
	if a.status != http.StatusOK || a.header.Get("Docker-Content-Digest") != digest || strings.Contains(reference, ":") && digest != reference {
		return fmt.Errorf("want the manifest %s, have %d %v %s", reference, a.status, a.header, a.body)
	}
	return nil
}

// withheld says whether an answer has the manifest all the same.
func withheld(i *situations.Image, a answer) error {
	for _, m := range i.Manifests {
		if slices.ContainsFunc(m.Blobs, func(blob string) bool { return bytes.Contains(a.body, []byte(blob)) }) {
			return fmt.Errorf("%d has the manifest: %s", a.status, a.body)
		}
	}
	return nil
}

// problem is the body of an answer that is none of what was asked for.
type problem struct {
	Errors []struct {
		Code, Message string
		Detail        *gate.Verdict
	}
}

// refused says what is wrong with an answer that has to be none of an image's manifest.
func refused(i *situations.Image, a answer, want situations.Want) error {
	if err := withheld(i, a); err != nil {
		return err
	}
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil || len(p.Errors) != 1 || a.header.Get("Content-Type") != "application/json" {
		return fmt.Errorf("%d %v %s: %v", a.status, a.header, a.body, err)
	}
	e := p.Errors[0]
	got := fmt.Sprintf("%d %s", a.status, e.Code)
	switch {
	case want.Outcome == "":
		if a.status < 400 || e.Code == "DENIED" || e.Detail != nil {
			return fmt.Errorf("want no verdict, have %s: %s", got, a.body)
		}
		return nil
	case got != answers[want.Outcome]:
		return fmt.Errorf("want %s, have %s: %s", answers[want.Outcome], got, a.body)
	case (a.header.Get("Retry-After") != "") != (want.Outcome == gate.OutcomeUndecided):
		return fmt.Errorf("%s has Retry-After %q", got, a.header.Get("Retry-After"))
	case e.Detail == nil || e.Detail.Reason != e.Message:
		return fmt.Errorf("the message is %q, the detail %v", e.Message, e.Detail)
	}
	return want.Check(*e.Detail)
}

// answers are status and code of what is not admitted.
var answers = map[gate.Outcome]string{gate.OutcomeRefused: "403 DENIED", gate.OutcomeUndecided: "503 UNAVAILABLE"}

// redacted says what nobody in particular should not have been told.
func redacted(a answer) error {
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		return err
	}
	for _, e := range p.Errors {
		if v := e.Detail; v != nil && (len(v.Policies) > 0 || len(v.Signatures) > 0 || len(v.Lookups) > 0) {
			return fmt.Errorf("nobody in particular is told %s", a.body)
		}
	}
	return nil
}

// signedThemselves are platforms of indexes that are not admitted: they are images of their own, which are.
var signedThemselves = map[string][]int{"index-platforms-signed": {0, 1}, "rule-platform-one": {0}}

// blobs asks for everything that an image consists of.
func (f *fronts) blobs(t *testing.T, i *situations.Image, want situations.Want) error {
	var all []func() error
	for k, m := range i.Manifests {
		served := want.Outcome == gate.OutcomeAdmitted || slices.Contains(signedThemselves[i.Name], k)
		for _, blob := range m.Blobs {
			all = append(all, func() error { return f.blob(t, i, blob, served) })
		}
	}
	return together(all...)
}

// blob asks for a blob by GET and HEAD.
func (f *fronts) blob(t *testing.T, i *situations.Image, digest string, served bool) error {
	var get, head answer
	err := together(
		func() (err error) { get, err = f.ask(t, i, http.MethodGet, "blobs/"+digest, ""); return err },
		func() (err error) { head, err = f.ask(t, i, http.MethodHead, "blobs/"+digest, ""); return err },
	)
	if err != nil {
		return err
	}
	whole := fmt.Sprintf("sha256:%x", sha256.Sum256(get.body)) == digest
	switch {
	case head.status != get.status:
		return fmt.Errorf("blob: HEAD %d, GET %d", head.status, get.status)
	case served && (get.status != http.StatusOK || !whole):
		return fmt.Errorf("blob: want it, have %d %s", get.status, get.body)
	case !served && (get.status != http.StatusForbidden && get.status != http.StatusServiceUnavailable && get.status != http.StatusNotFound || whole):
		return fmt.Errorf("blob: want 403, 503 or 404, have %d", get.status)
	}
	return nil
}

package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/situations"
)

// pulled asks for all of an image, as somebody does who pulls it. So it gets into the cache, if it is admitted.
func (f *fronts) pulled(t *testing.T, i *situations.Image) error {
	want, _ := i.At("proxy")
	return f.pull(t, i, func(reference string) error {
		a, err := f.ask(t, i, http.MethodGet, "manifests/"+reference, "")
		switch {
		case err != nil:
			return err
		case want.Outcome == gate.OutcomeAdmitted:
			return serves(reference, a)
		case a.status == http.StatusOK:
			return errors.New("it was served")
		}
		return nil
	}, want.Outcome == gate.OutcomeAdmitted)
}

// pull asks for the manifest, and if that is good for those of all platforms, and for what they consist of.
func (f *fronts) pull(t *testing.T, i *situations.Image, manifest func(reference string) error, good bool) error {
	var all []func() error
	for _, reference := range references(i) {
		all = append(all, func() error { return manifest(reference) })
	}
	if err := together(all...); err != nil || !good {
		return err
	}
	for _, m := range i.Manifests {
		if m.Digest == i.Digest {
			continue
		}
		if err := manifest(m.Digest); err != nil {
			return err
		}
	}
	return f.blobs(t, i, situations.Want{Outcome: gate.OutcomeAdmitted})
}

// offline holds what a proxy says that was started while the registry is down, with the cache of one before it: what that has served, and 503 to all else.
func (f *fronts) offline(t *testing.T, i *situations.Image) error {
	want, because := i.At("offline proxy")
	if because == "" {
		want, _ = i.At("proxy")
	}
	admitted := want.Outcome == gate.OutcomeAdmitted
	err := f.pull(t, i, func(reference string) error {
		get, err := f.ask(t, i, http.MethodGet, "manifests/"+reference, "")
		if err != nil {
			return err
		}
		head, err := f.ask(t, i, http.MethodHead, "manifests/"+reference, "")
		switch {
		case err != nil:
			return err
		case head.status != get.status:
			return fmt.Errorf("HEAD: %d, GET: %d", head.status, get.status)
		case !admitted && get.status != http.StatusServiceUnavailable:
			return fmt.Errorf("want 503, have %d %s", get.status, get.body)
		case !admitted:
			return withheld(i, get)
		case get.header.Get("Touchmark-Offline") == "" || head.header.Get("Touchmark-Offline") == "":
			return fmt.Errorf("it does not say that it is offline: HEAD %v, GET %v %s", head.header, get.header, get.body)
		}
		return serves(reference, get)
	}, admitted)
	if err != nil || admitted {
		return err
	}
	for _, m := range i.Manifests {
		if err := f.blob(t, i, m.Blobs[0], false); err != nil {
			return err
		}
	}
	return nil
}

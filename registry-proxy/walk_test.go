package registryproxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ociIndex writes an index of one manifest.
func ociIndex(mediaType string, child v1.Hash, note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1}],"annotations":{"note":%q}}`,
		typeOCIIndex, mediaType, child, note)
}

// wideManifest lists a thousand blobs.
func wideManifest(note string) []byte {
	layers := make([]descriptor, maxDescriptors-1)
	for i := range layers {
		layers[i] = descriptor{MediaType: layerType, Size: 1, UntrustedDigest: sum(fmt.Append(nil, note, i)).String()}
	}
	return ociManifest(descriptor{MediaType: typeImageConfig, Size: 1, UntrustedDigest: sum([]byte(note)).String()}, layers, "")
}

// PX-27: a client that hangs up in the midst of a search leaves nothing behind that others would be told.
func TestPX27_HangingUpEndsNobodysSearch(t *testing.T) {
	l := newLab(t)
	index := l.pushIndex("app:v1")
	l.admitter.sign(digestOf(t, index))
	asked, ended := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	l.setLie(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") || first.Swap(true) {
			return false
		}
		close(asked)
		<-r.Context().Done()
		close(ended)
		return true
	})
	child := "/v2/app/manifests/" + children(t, index)[0].String()
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+child, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-asked; hangUp() }()
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		resp.Body.Close()
		t.Fatal("the client got an answer before it hung up")
	}
	<-ended
	for range 20 {
		l.want(l.get(child), http.StatusOK, "")
	}
}

// PX-27: however many repositories are searched, with however many lists read beside that, pulls go on; and so do searches.
func TestPX27_SearchesLeaveRoomForPulls(t *testing.T) {
	const repositories = 4
	l := newLab(t, withConfig(func(c *Config) { c.Fetches = 4 }))
	img, index := l.pushImage("app:v1"), l.pushIndex("multi:v1")
	l.admitter.sign(digestOf(t, img), digestOf(t, index))
	stuck, stop := make(chan struct{}, repositories*2), make(chan struct{})
	var searched []string
	for i := range repositories {
		of := fmt.Sprint("slow", i)
		l.pushImage(of + ":v2")
		searched = append(searched, "/v2/"+of+"/manifests/"+digestOf(t, l.pushImage(of+":v1")).String())
	}
	l.setLie(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/slow") && strings.Contains(r.URL.Path, "/manifests/v") {
			stuck <- struct{}{}
			<-stop
		}
		return false
	})
	var wg sync.WaitGroup
	for _, path := range searched {
		wg.Go(func() { l.get(path) })
	}
	for range 2 { // half of the places
		<-stuck
	}
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	close(stop)
	wg.Wait()
	if !l.proxy.lists.TryAcquire(maxLists) { // as clients can
		t.Fatal("not all places are free")
	}
	l.want(l.get("/v2/multi/manifests/"+children(t, index)[0].String()), http.StatusOK, "")
}

// PX-05, PX-09: what was found and had to make room, be it for the rest of the repository or for another one, is not known not to be
// there.
func TestPX05_NoRefusalByWhatTheTableLost(t *testing.T) {
	l := newLab(t)
	l.proxy.table = newTable(4 * maxDescriptors)
	index, bad := l.pushIndex("app:a"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, index))
	refused := "/v2/app/manifests/" + digestOf(t, bad).String()
	child := "/v2/app/manifests/" + children(t, index)[0].String()
	l.want(l.get(refused), http.StatusForbidden, codeDenied)
	for i := range 5 { // another repository
		l.proxy.table.record(&node{key: tableKey{"other", tableDigest(i)}, blobs: make([]sizedBlob, maxDescriptors)}, false)
	}
	l.want(l.get(child), http.StatusServiceUnavailable, codeUnavailable)
	l.clock.Advance(walkFresh)
	l.want(l.get(child), http.StatusOK, "")
	l.want(l.get(refused), http.StatusForbidden, codeDenied)

	for i := range 5 {
		l.put("app", fmt.Sprint("b", i), typeOCIManifest, wideManifest(fmt.Sprint(i)))
	}
	l.clock.Advance(walkFresh)
	l.want(l.get(refused), http.StatusServiceUnavailable, codeUnavailable)
	l.seen("")
	l.want(l.get(refused), http.StatusServiceUnavailable, codeUnavailable)
	if n := l.seen("/tags/list"); n != 0 {
		t.Errorf("a search that must fail was repeated %d times", n)
	}
}

// PX-31: a list of tags that does not come to its end is not a repository that was seen as a whole.
func TestPX31_NoRefusalByAPartOfTheTags(t *testing.T) {
	for name, pages := range map[string][2]string{ // without and with ?last=; empty is 404
		"a further page that is not there":      {`["leaf"]`, ``},
		"a further page without tags":           {`["leaf"]`, `[]`},
		"a further page with the same tag":      {`["leaf"]`, `["leaf"]`},
		"no tags, and further pages":            {`[]`, ``},
		"something else":                        {`{"errors":[{"code":"UNKNOWN"}]}`, ``},
		"a further page that is something else": {`["leaf"]`, `{}`},
		"a further page of no tags, either":     {`["leaf"]`, `["../x"]`},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			leaf := digestOf(t, l.pushImage("app:leaf"))
			index := l.put("app", "signed", typeOCIIndex, ociIndex(typeDockerManifest, leaf, ""))
			l.admitter.sign(index)
			astray := true
			l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
				if !astray || !strings.HasSuffix(r.URL.Path, "/tags/list") {
					return false
				}
				page := pages[0]
				if r.URL.Query().Get("last") != "" {
					page = pages[1]
				}
				if page == "" {
					w.WriteHeader(http.StatusNotFound)
					return true
				}
				if strings.HasPrefix(page, "[") {
					w.Header().Set("Link", `</v2/app/tags/list?last=leaf>; rel="next"`)
					page = `{"name":"app","tags":` + page + `}`
				}
				fmt.Fprint(w, page)
				return true
			})
			l.want(l.get("/v2/app/manifests/"+leaf.String()), http.StatusServiceUnavailable, codeUnavailable)
			astray = false
			l.clock.Advance(walkFresh)
			l.want(l.get("/v2/app/manifests/"+leaf.String()), http.StatusOK, "")
		})
	}
}

// PX-09: indexes are followed to [maxIndexDepth] from wherever they are met first; what lies deeper was not seen.
func TestPX09_WhatLiesDeeperWasNotSeen(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tag    string // where what lists the signed index is met, besides in the depth; empty: nowhere
		status int
		code   string
	}{
		{"in the depth alone", "", http.StatusServiceUnavailable, codeUnavailable},
		{"less deep before", "a", http.StatusOK, ""},
		{"less deep afterwards", "z", http.StatusOK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			put := func(tag string, body []byte) v1.Hash {
				if tag == "" {
					tag = sum(body).String()
				}
				return l.put("app", tag, typeOCIIndex, body)
			}
			leaf := digestOf(t, l.pushImage("app:leaf"))
			signed := put("", ociIndex(typeDockerManifest, leaf, "signed"))
			l.admitter.sign(signed)
			third := put("", ociIndex(typeOCIIndex, signed, "third"))
			second := put("", ociIndex(typeOCIIndex, third, "second"))
			put("m", ociIndex(typeOCIIndex, second, "first"))
			if tt.tag != "" {
				put(tt.tag, ociIndex(typeOCIIndex, third, "less deep"))
			}
			l.want(l.get("/v2/app/manifests/"+leaf.String()), tt.status, tt.code)
		})
	}
}

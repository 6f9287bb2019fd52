package registryproxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
)

// TestPX_ManyIndexesHideNoSignature: whoever may push can list a manifest in any number of indexes. A signed one among them still
// admits it, or the answer is that nothing is known.
func TestPX_ManyIndexesHideNoSignature(t *testing.T) {
	for _, tt := range []struct {
		unsigned int
		signed   bool
		status   int
		code     string
	}{
		{0, true, http.StatusOK, ""},
		{maxParents - 1, true, http.StatusOK, ""},
		{maxParents, true, http.StatusOK, ""},
		{maxHolders - 1, true, http.StatusOK, ""},
		{maxHolders - 1, false, http.StatusForbidden, codeDenied},
		{maxHolders + 10, true, http.StatusServiceUnavailable, codeUnavailable},
		{maxHolders + 10, false, http.StatusServiceUnavailable, codeUnavailable},
	} {
		t.Run(fmt.Sprint(tt.unsigned, tt.signed), func(t *testing.T) {
			l := newLab(t)
			layer := l.putBlob("app", layerType, []byte("layer"))
			config := l.putBlob("app", typeImageConfig, []byte(`{}`))
			body := ociManifest(config, []descriptor{layer}, "")
			child := l.put("app", sum(body).String(), typeOCIManifest, body)
			index := func(tag string) []byte {
				return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}],"annotations":{"n":%q}}`,
					typeOCIIndex, typeOCIManifest, child, len(body), tag)
			}
			for i := range tt.unsigned {
				tag := fmt.Sprintf("a%03d", i)
				l.put("app", tag, typeOCIIndex, index(tag))
			}
			if tt.signed {
				l.admitter.sign(l.put("app", "z", typeOCIIndex, index("z")))
			}
			l.want(l.get("/v2/app/manifests/"+child.String()), tt.status, tt.code)
			l.want(l.get("/v2/app/blobs/"+layer.UntrustedDigest), tt.status, tt.code)
			for _, q := range l.admitter.questions() {
				if len(q.Parents) > maxParents {
					t.Fatalf("the gate was asked with %d parents", len(q.Parents))
				}
			}
		})
	}
}

// indexOnly admits by the rule that the index must be signed, and what is in none itself.
type indexOnly struct{ *script }

func (s indexOnly) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	if len(req.Parents) > 0 {
		req.Digest = req.Parents[0]
	}
	v := s.script.Admit(ctx, req)
	if len(req.Parents) == 0 && !req.ParentsKnown {
		v.Outcome, v.Code = gate.OutcomeUndecided, gate.CodeParentUnknown
	}
	return v
}

// TestPX07_ParentsAreNotKnownAfterAnIncompleteSearch: a manifest's own signature is enough only if no index lists it, which a search says that has seen
// everything; not one that did not find again what made room meanwhile.
func TestPX07_ParentsAreNotKnownAfterAnIncompleteSearch(t *testing.T) {
	for _, withheld := range []bool{true, false} {
		l := newLab(t)
		l.start(Config{Upstream: l.upstream.URL, LogicalName: "registry.acme.example", Admitter: indexOnly{l.admitter}, Logger: l.proxy.logger, Now: l.clock.Now})
		l.proxy.table = newTable(maxDescriptors)
		child, alone := digestOf(t, l.pushImage("app:child")), digestOf(t, l.pushImage("app:alone"))
		index := l.put("app", "index", typeOCIIndex, ociIndex(typeDockerManifest, child, "unsigned"))
		l.admitter.sign(child, alone)
		l.proxy.table.record(&node{key: tableKey{"app", index}, mediaType: typeOCIIndex, children: []v1.Hash{child}}, false)
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/tags/list"):
				l.proxy.table.record(&node{key: tableKey{"other", tableDigest(0)}, blobs: make([]sizedBlob, maxDescriptors-1)}, false)
			case withheld && strings.HasSuffix(r.URL.Path, "/manifests/index"):
				w.WriteHeader(http.StatusPreconditionFailed)
				return true
			}
			return false
		})
		l.want(l.get("/v2/app/manifests/"+child.String()), http.StatusServiceUnavailable, codeUnavailable) // lost, or withheld
		l.setLie(nil)
		l.clock.Advance(walkFresh)
		l.want(l.get("/v2/app/manifests/"+child.String()), http.StatusForbidden, codeDenied)
		l.want(l.get("/v2/app/manifests/"+alone.String()), http.StatusOK, "")
	}
}

// TestA068_ManifestsOfTooManyTokens: a limit in bytes is none for memory.
func TestA068_ManifestsOfTooManyTokens(t *testing.T) {
	l := newLab(t)
	blob := l.putBlob("app", layerType, []byte("layer"))
	for n, ok := range map[int]bool{1000: true, maxJSONTokens: false} {
		body := ociManifest(blob, []descriptor{blob}, `,"unknown":[0`+strings.Repeat(",0", n)+`]`)
		digest := l.put("app", "v1", typeOCIManifest, body)
		l.admitter.sign(digest)
		l.clock.Advance(tagFresh)
		if ok {
			l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
		} else {
			l.want(l.get("/v2/app/manifests/v1"), http.StatusBadGateway, codeManifestInvalid)
		}
	}
	// The largest index that is served for its number of descriptors, each with all that build tools write.
	var all []string
	for i := range maxDescriptors {
		all = append(all, fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%064x","size":1,"artifactType":"a/b","platform":{"architecture":"arm","os":"linux","os.version":"1","variant":"v8","os.features":["a","b"]},`+
			`"annotations":{"a":"1","b":"2","c":"3","d":"4","e":"5","f":"6","g":"7","h":"8","i":"9","j":"10"}}`, typeOCIManifest, i))
	}
	if _, err := parseDocument([]byte(`{"schemaVersion":2,"mediaType":"`+typeOCIIndex+`","manifests":[`+strings.Join(all, ",")+`]}`), typeOCIIndex); err != nil {
		t.Error(err)
	}
}

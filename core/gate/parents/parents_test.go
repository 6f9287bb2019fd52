package parents_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
)

// The index rule in each of its values, for a client that asks about one
// platform's manifest alone.
func TestCTRD06_PX07_PlatformOfAnIndex(t *testing.T) {
	w := newWorld(t)
	neither, index, platforms, both := w.pushIndex(t, "neither", 10), w.pushIndex(t, "index", 20), w.pushIndex(t, "platforms", 30), w.pushIndex(t, "both", 40)
	single, unsigned := w.push(t, "single", coretest.Image(t, 50)), w.push(t, "unsigned", coretest.Image(t, 51))
	w.sign(t, index.index, both.index, single)
	w.sign(t, append(platforms.platforms, both.platforms...)...)

	for _, c := range []struct {
		rule   string
		what   string
		digest v1.Hash
		code   gate.Code
		search bool
	}{
		{"either", "neither", neither.platforms[0], gate.CodeUnsigned, true},
		{"either", "index", index.platforms[0], gate.CodeAdmitted, true},
		{"either", "platforms", platforms.platforms[1], gate.CodeAdmitted, false},
		{"either", "both", both.platforms[0], gate.CodeAdmitted, false},
		{"either", "single", single, gate.CodeAdmitted, false},
		{"either", "unsigned single", unsigned, gate.CodeUnsigned, true},
		{"index", "neither", neither.platforms[0], gate.CodeUnsigned, true},
		{"index", "index", index.platforms[1], gate.CodeAdmitted, true},
		{"index", "platforms", platforms.platforms[0], gate.CodeUnsigned, true},
		{"index", "both", both.platforms[0], gate.CodeAdmitted, true},
		{"index", "single", single, gate.CodeAdmitted, true},
		{"index", "unsigned single", unsigned, gate.CodeUnsigned, true},
		{"platform", "neither", neither.platforms[0], gate.CodeUnsigned, false},
		{"platform", "index", index.platforms[0], gate.CodeUnsigned, false},
		{"platform", "platforms", platforms.platforms[0], gate.CodeAdmitted, false},
		{"platform", "single", single, gate.CodeAdmitted, false},
		{"both", "neither", neither.platforms[0], gate.CodeUnsigned, true},
		{"both", "index", index.platforms[0], gate.CodeUnsigned, true},
		{"both", "platforms", platforms.platforms[0], gate.CodeUnsigned, true},
		{"both", "both", both.platforms[1], gate.CodeAdmitted, true},
		{"both", "single", single, gate.CodeAdmitted, true},
		{"both", "unsigned single", unsigned, gate.CodeUnsigned, true},
	} {
		t.Run(c.rule+"/"+c.what, func(t *testing.T) {
			f := w.finder(t, c.rule)
			w.wire.count()
			want(t, "first", admit(f, w.request(t, c.digest)), c.code)
			if _, lists := w.wire.count(); (lists > 0) != c.search {
				t.Errorf("tags were listed %d times, want a search: %v", lists, c.search)
			}
			want(t, "again", admit(f, w.request(t, c.digest)), c.code)
			if all, _ := w.wire.count(); c.code == gate.CodeAdmitted && all != 0 {
				t.Errorf("asking again made %d requests", all)
			}
		})
	}
}

// A signed index admits what it lists, and nothing else in its repository or
// elsewhere.
func TestPX07_SignedIndexThatDoesNotListIt(t *testing.T) {
	w := newWorld(t)
	signed := w.pushIndex(t, "signed", 10)
	w.sign(t, signed.index)
	stranger := w.push(t, "stranger", coretest.Image(t, 20))
	for _, rule := range []string{"either", "index", "both"} {
		f := w.finder(t, rule)
		req := w.request(t, stranger)
		req.Parents = []v1.Hash{signed.index} // on the caller's word
		v := admit(f, req)
		if v.Admitted() {
			t.Errorf("%s: %s", rule, v.Reason)
		}
		if rule == "either" {
			want(t, rule+", its platform", admit(f, w.request(t, signed.platforms[0])), gate.CodeAdmitted)
		}
	}
}

// What was found with one person's credentials decides for nobody else.
func TestPOD13_PeopleAreKeptApart(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	w.sign(t, m.index)
	store := parents.NewMemory()
	f := w.finder(t, "either", func(c *parents.Config) { c.Store = store })
	alice := w.request(t, m.platforms[0])
	alice.Source.As = "alice"
	want(t, "alice", admit(f, alice), gate.CodeAdmitted)
	// The registry shows bob the manifest, and neither tags nor indexes.
	w.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, m.index.Hex) || strings.HasSuffix(r.URL.Path, "/tags/list") {
			return respond(r, http.StatusForbidden, "application/json", `{}`), nil
		}
		return nil, nil
	})
	bob := w.request(t, m.platforms[0])
	bob.Source.As = "bob"
	w.wire.count()
	want(t, "bob", admit(f, bob), gate.CodeForbidden)
	for _, r := range w.wire.requests {
		if strings.Contains(r, m.index.Hex) {
			t.Errorf("for bob the index was asked for that alice's credentials found: %s", r)
		}
	}
	w.wire.set(nil)
	w.clock.Advance(time.Minute)
	want(t, "bob with alice's rights", admit(f, bob), gate.CodeAdmitted)
}

// What is remembered outlives the process: a Finder with the same store searches
// nothing.
func TestPersistentStore(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	w.sign(t, m.index)
	store := parents.NewMemory()
	f := w.finder(t, "index", func(c *parents.Config) { c.Store = store })
	want(t, "before", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.wire.count()
	f = w.finder(t, "index", func(c *parents.Config) { c.Store = store })
	want(t, "after", admit(f, w.request(t, m.platforms[1])), gate.CodeAdmitted)
	if _, lists := w.wire.count(); lists != 0 {
		t.Errorf("tags were listed %d times", lists)
	}
	// A closed Finder answers from what it knows, and searches no more.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, "closed, known", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
	want(t, "closed, unknown", admit(f, w.request(t, w.push(t, "v2", coretest.Image(t, 20)))), gate.CodeParentUnknown)
}

// forgetful is a store that forgets everything when it is told to, as any may.
type forgetful struct{ atomic.Pointer[parents.Memory] }

func (f *forgetful) forget() { f.Pointer.Store(parents.NewMemory()) }

func (f *forgetful) Known(ctx context.Context, place string, index v1.Hash) bool {
	return f.Load().Known(ctx, place, index)
}

func (f *forgetful) Parents(ctx context.Context, place string, manifest v1.Hash, limit int) []v1.Hash {
	return f.Load().Parents(ctx, place, manifest, limit)
}

func (f *forgetful) Remember(ctx context.Context, place string, index v1.Hash, children []v1.Hash) {
	f.Load().Remember(ctx, place, index, children)
}

// What a store forgets costs requests, and makes no platform a single image.
func TestCTRD06_StoreThatForgets(t *testing.T) {
	w := newWorld(t)
	signed, unsigned := w.pushIndex(t, "signed", 10), w.pushIndex(t, "unsigned", 20)
	w.sign(t, signed.index)
	w.sign(t, unsigned.platforms...)
	store := &forgetful{}
	store.forget()
	f := w.finder(t, "index", func(c *parents.Config) { c.Store = store })
	for range 3 {
		for i := range 2 {
			want(t, "platforms signed, index not", admit(f, w.request(t, unsigned.platforms[i])), gate.CodeUnsigned)
			store.forget()
			want(t, "index signed", admit(f, w.request(t, signed.platforms[i])), gate.CodeAdmitted)
			store.forget()
		}
		w.clock.Advance(3 * time.Second)
	}
}

// An index that was deleted since it was remembered keeps nobody from deciding;
// one that can't be reached does.
func TestDeletedIndex(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	store := parents.NewMemory()
	f := w.finder(t, "either", func(c *parents.Config) { c.Store = store })
	want(t, "unsigned index", admit(f, w.request(t, m.platforms[0])), gate.CodeUnsigned)
	w.clock.Advance(time.Hour)
	for status, code := range map[int]gate.Code{http.StatusNotFound: gate.CodeUnsigned, http.StatusServiceUnavailable: gate.CodeLookupFailed} {
		w.wire.set(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, m.index.String()) || strings.HasSuffix(r.URL.Path, "/manifests/v1") {
				return respond(r, status, "application/json", `{}`, "Retry-After", "60"), nil
			}
			return nil, nil
		})
		want(t, fmt.Sprint("the index answers ", status), admit(f, w.request(t, m.platforms[0])), code)
		w.clock.Advance(time.Hour)
	}
}

// Indexes in an index are found, too; only those that list the image itself
// count.
func TestNestedIndexes(t *testing.T) {
	w := newWorld(t)
	inner := coretest.Index(t, 10)
	raw, err := inner.Digest()
	if err != nil {
		t.Fatal(err)
	}
	outer := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: inner})
	w.push(t, "outer", outer)
	manifest, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	platform := manifest.Manifests[0].Digest
	want(t, "nothing is signed", admit(w.finder(t, "either"), w.request(t, platform)), gate.CodeUnsigned)
	w.sign(t, raw)
	want(t, "the inner index is signed", admit(w.finder(t, "either"), w.request(t, platform)), gate.CodeAdmitted)
}

// An index to which no tag leads any more is found by its signature's tag.
func TestSignedIndexWithoutATag(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "latest", 10)
	w.sign(t, m.index)
	w.push(t, "sha256-"+m.index.Hex+".sig", coretest.Image(t, 99)) // as a tag, the bundle admits
	w.pushIndex(t, "latest", 20)
	f := w.finder(t, "either")
	want(t, "the old image", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
}

// What is pushed is found at once: with a new tag, and where a tag has moved.
func TestNewImagesAreFound(t *testing.T) {
	w := newWorld(t)
	f := w.finder(t, "either")
	first := w.pushIndex(t, "latest", 10)
	want(t, "unsigned", admit(f, w.request(t, first.platforms[0])), gate.CodeUnsigned)
	for i, tag := range []string{"v2", "latest"} {
		w.clock.Advance(11 * time.Second)
		m := w.pushIndex(t, tag, int64(20+10*i))
		w.sign(t, m.index)
		want(t, "pushed to "+tag, admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
	}
	// A digest that was in no index, and now is in one with a new tag.
	later := coretest.Index(t, 50)
	manifest, err := later.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := later.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	platform := w.push(t, "amd64", image)
	want(t, "in no index", admit(f, w.request(t, platform)), gate.CodeUnsigned)
	w.clock.Advance(2 * time.Second)
	w.sign(t, w.push(t, "v3", later))
	want(t, "in a new index", admit(f, w.request(t, platform)), gate.CodeAdmitted)
}

// Within seconds, an image that no index lists costs a list of tags, and one
// second nothing but what the gate asks.
func TestNoIndexIsRemembered(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.push(t, fmt.Sprint("v", i), coretest.Image(t, int64(100+i)))
	}
	image := w.push(t, "unsigned", coretest.Image(t, 10))
	f := w.finder(t, "either")
	cost := func() int {
		want(t, "unsigned", admit(f, w.request(t, image)), gate.CodeUnsigned)
		n, _ := w.wire.count()
		return n
	}
	first := cost()
	if n := cost(); n != 0 {
		t.Errorf("at once: %d requests", n)
	}
	w.clock.Advance(2 * time.Second)
	if n := cost(); n >= first-20 {
		t.Errorf("after two seconds: %d requests, at first %d", n, first)
	}
	w.clock.Advance(time.Minute)
	if n := cost(); n != first {
		t.Errorf("after a minute: %d requests, at first %d", n, first)
	}
}

// A policy that only observes says truly what enforcing would have done.
func TestObserve(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	w.sign(t, m.index)
	unsigned := w.pushIndex(t, "v2", 20)
	f := w.finder(t, "either", func(c *parents.Config) { c.Admitter = w.gate(t, "either", "  mode: observe\n") })
	want(t, "signed index", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
	want(t, "unsigned", admit(f, w.request(t, unsigned.platforms[0])), gate.CodeObserved)
	w.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			return respond(r, http.StatusForbidden, "application/json", `{}`), nil
		}
		return nil, nil
	})
	v := admit(f, w.request(t, w.push(t, "v3", coretest.Image(t, 30))))
	want(t, "no list of tags", v, gate.CodeObserved)
	if !strings.Contains(v.Reason, "could not have decided") {
		t.Errorf("the reason is %q", v.Reason)
	}
}

// An image that many indexes list is asked about with eight at a time, and with
// sixty-four in all.
func TestPX_ManyIndexesHideNoSignature(t *testing.T) {
	for _, c := range []struct {
		unsigned int
		signed   bool
		code     gate.Code
	}{
		{7, true, gate.CodeAdmitted}, {8, true, gate.CodeAdmitted}, {63, true, gate.CodeAdmitted},
		{64, false, gate.CodeUnsigned}, {65, false, gate.CodeParentUnknown},
	} {
		t.Run(fmt.Sprint(c.unsigned, c.signed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			image := coretest.Image(t, 10)
			platform := w.push(t, "amd64", image)
			index := func(tag string) v1.Hash {
				i := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: image})
				one := mutate.Annotations(i, map[string]string{"n": tag}).(v1.ImageIndex)
				digest, err := one.Digest()
				if err == nil {
					err = remote.Put(w.source(t).Repository.Tag(tag), one) // the image is there
				}
				if err != nil {
					t.Fatal(err)
				}
				return digest
			}
			for i := range c.unsigned {
				index(fmt.Sprint("v", 1000+i))
			}
			if c.signed {
				w.sign(t, index("v1"))
			}
			f := w.finder(t, "either")
			want(t, "first", admit(f, w.request(t, platform)), c.code)
			w.clock.Advance(time.Minute)
			want(t, "again", admit(f, w.request(t, platform)), c.code)
		})
	}
}

// However many ask at once, one search of a repository is under way.
func TestOneSearchAtATime(t *testing.T) {
	w := newWorld(t)
	var all []multi
	for i := range 8 {
		all = append(all, w.pushIndex(t, fmt.Sprint("v", i), int64(10+10*i)))
		w.sign(t, all[i].index)
	}
	f := w.finder(t, "either")
	w.wire.count()
	// Nobody finds anything before all have asked.
	var asked sync.WaitGroup
	asked.Add(len(all))
	w.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			asked.Wait()
		}
		return nil, nil
	})
	var group sync.WaitGroup
	for _, m := range all {
		group.Go(func() {
			asked.Done()
			want(t, "platform", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
		})
	}
	group.Wait()
	_, lists := w.wire.count()
	if lists > 3 {
		t.Errorf("tags were listed %d times", lists)
	}
}

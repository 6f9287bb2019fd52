package parents_test

import (
	"fmt"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
)

// BenchmarkFirstSight decides about one platform of an index in a repository of
// many multi-platform images: of the newest tag, or an image that no index lists, for which everything is seen. It says how many
// requests each takes, evidence included.
func BenchmarkFirstSight(b *testing.B) {
	for _, tags := range []int{1, 100, 5000} {
		w := newWorld(b)
		first := w.fill(b, tags)
		w.sign(b, first.index)
		unsigned := w.push(b, "0-single", coretest.Image(b, 7))
		for _, c := range []struct {
			what   string
			digest v1.Hash
			admits bool
		}{{"newest", first.platforms[0], true}, {"none", unsigned, false}} {
			b.Run(fmt.Sprintf("%d/%s", tags, c.what), func(b *testing.B) {
				w.wire.count()
				for b.Loop() {
					f := w.finder(b, "either")
					if v := admit(f, w.request(b, c.digest)); v.Admitted() != c.admits {
						b.Fatal(v.Reason)
					}
				}
				n, _ := w.wire.count()
				b.ReportMetric(float64(n)/float64(b.N), "requests/op")
			})
		}
		b.Run(fmt.Sprintf("%d/known", tags), func(b *testing.B) {
			f := w.finder(b, "either")
			admit(f, w.request(b, first.platforms[0]))
			w.wire.count()
			for b.Loop() {
				if v := admit(f, w.request(b, first.platforms[0])); !v.Admitted() {
					b.Fatal(v.Reason)
				}
			}
			n, _ := w.wire.count()
			b.ReportMetric(float64(n)/float64(b.N), "requests/op")
		})
	}
}

// fill pushes as many indexes, each with a tag and a digest of its own, and gives
// the newest.
func (w *world) fill(b *testing.B, tags int) (newest multi) {
	b.Helper()
	newest = w.pushIndex(b, fmt.Sprint("v", tags), 10)
	shared := coretest.Index(b, 20)
	for i := 1; i < tags; i++ {
		tag := fmt.Sprint("v", i)
		index := mutate.Annotations(shared, map[string]string{"n": tag}).(v1.ImageIndex)
		var err error
		if i == 1 {
			err = remote.WriteIndex(w.source(b).Repository.Tag(tag), index)
		} else {
			err = remote.Put(w.source(b).Repository.Tag(tag), index)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return newest
}

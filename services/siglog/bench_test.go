package siglog_test

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/services/siglog"
)

// BenchmarkAppend measures entries acknowledged with proof, checkpoint and
// timestamp, from clients that each wait for one before they send the next.
func BenchmarkAppend(b *testing.B) {
	benchmarkAppend(b, propose, func(ctx context.Context, log *siglog.Log, p siglog.Proposed) error {
		_, err := log.Append(ctx, p)
		return err
	})
}

// BenchmarkAppendV2 is the same for the v2 tree.
func BenchmarkAppendV2(b *testing.B) {
	benchmarkAppend(b, proposeV2, func(ctx context.Context, log *siglog.Log, p siglog.ProposedV2) error {
		_, err := log.AppendV2(ctx, p)
		return err
	})
}

func benchmarkAppend[P any](b *testing.B, propose func(crypto.Signer) (P, error), appendTo func(context.Context, *siglog.Log, P) error) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			log, err := siglog.New(b.Context(), newConfig(b))
			if err != nil {
				b.Fatal(err)
			}
			defer log.Close()
			key, err := keys.Generate(keys.Ed25519)
			if err != nil {
				b.Fatal(err)
			}
			proposals := make([]P, b.N)
			for i := range proposals {
				if proposals[i], err = propose(key); err != nil {
					b.Fatal(err)
				}
			}
			took := make([]time.Duration, b.N)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range clients {
				wg.Go(func() {
					for {
						i := int(next.Add(1)) - 1
						if i >= b.N {
							return
						}
						start := time.Now()
						if err := appendTo(b.Context(), log, proposals[i]); err != nil {
							b.Error(err)
							return
						}
						took[i] = time.Since(start)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			ms := func(p float64) float64 { return took[int(p*float64(b.N-1))].Seconds() * 1000 }
			b.ReportMetric(ms(0.50), "p50-ms")
			b.ReportMetric(ms(0.99), "p99-ms")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

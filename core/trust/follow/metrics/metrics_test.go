package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/core/trust/follow/metrics"
)

func TestCollector(t *testing.T) {
	past, future, never := time.Unix(1000, 0), time.Unix(1<<40, 0), time.Time{}
	roots := []follow.Status{
		{Name: "a-file"},
		{Name: "fresh", Mirror: "https://m.example", Refreshed: past, Expires: future, Until: future},
		{Name: "expired", Mirror: "https://m.example", Refreshed: never, Expires: past, Until: future, Failures: 3},
		{Name: "ended", Mirror: "https://m.example", Refreshed: past, Expires: past, Until: past},
	}
	c := metrics.Collector(func() []follow.Status { return roots })
	want := `
# HELP touchmark_trust_root_refresh_failures_total How often a trust root could not be refreshed, since the start.
# TYPE touchmark_trust_root_refresh_failures_total counter
touchmark_trust_root_refresh_failures_total{name="ended"} 0
touchmark_trust_root_refresh_failures_total{name="expired"} 3
touchmark_trust_root_refresh_failures_total{name="fresh"} 0
# HELP touchmark_trust_root_refreshed_timestamp When a trust root was last refreshed, in seconds since 1970; 0 if not since the start.
# TYPE touchmark_trust_root_refreshed_timestamp gauge
touchmark_trust_root_refreshed_timestamp{name="ended"} 1000
touchmark_trust_root_refreshed_timestamp{name="expired"} 0
touchmark_trust_root_refreshed_timestamp{name="fresh"} 1000
# HELP touchmark_trust_root_stale 1 if a trust root's metadata has expired, 2 if it is not used any more.
# TYPE touchmark_trust_root_stale gauge
touchmark_trust_root_stale{name="ended"} 2
touchmark_trust_root_stale{name="expired"} 1
touchmark_trust_root_stale{name="fresh"} 0
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "touchmark_trust_root_refresh_failures_total", "touchmark_trust_root_refreshed_timestamp", "touchmark_trust_root_stale"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(c); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

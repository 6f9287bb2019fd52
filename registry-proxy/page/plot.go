package page

import (
	"fmt"
	"time"

	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

// The plot's measures, in units of its own: it is as wide as the page.
const (
	plotHeight = 60
	barWidth   = 10
	barGap     = 2
)

// plot is answers over time, a bar for each hour.
type plot struct {
	Width, Height                int
	Bars                         []bar
	From, To                     time.Time
	Admitted, Refused, Undecided int // over all hours
}

// bar is one hour: what was admitted at the bottom, the rest above.
type bar struct {
	X, Width int
	Parts    []part
	Title    string
}

type part struct {
	Y, Height float64
	Class     string
}

// newPlot draws counts. What happened at all can be seen: no part is lower than a
// pixel or so.
func newPlot(counts []decisions.Count) plot {
	p := plot{Width: len(counts) * (barWidth + barGap), Height: plotHeight}
	most := 1
	for _, c := range counts {
		most = max(most, c.Admitted+c.Refused+c.Undecided)
	}
	for i, c := range counts {
		b := bar{
			X: i * (barWidth + barGap), Width: barWidth,
			Title: fmt.Sprintf("%s: %d admitted, %d refused, %d undecided", c.Start.UTC().Format("Mon 15:04 UTC"), c.Admitted, c.Refused, c.Undecided),
		}
		y := float64(plotHeight)
		for _, s := range []struct {
			n     int
			class string
		}{{c.Admitted, "admitted"}, {c.Undecided, "undecided"}, {c.Refused, "refused"}} {
			if s.n == 0 {
				continue
			}
			height := min(max(2, float64(s.n)/float64(most)*(plotHeight-4)), y)
			y -= height
			b.Parts = append(b.Parts, part{Y: y, Height: height, Class: s.class})
		}
		p.Bars = append(p.Bars, b)
		p.Admitted, p.Refused, p.Undecided = p.Admitted+c.Admitted, p.Refused+c.Refused, p.Undecided+c.Undecided
	}
	if len(counts) > 0 {
		p.From, p.To = counts[0].Start, counts[len(counts)-1].Start
	}
	return p
}

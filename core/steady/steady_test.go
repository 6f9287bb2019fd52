package steady_test

import (
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/steady"
)

const day, year = 24 * time.Hour, 365 * 24 * time.Hour

// What ends in ten minutes ends then, wherever the wall clock is set meanwhile, and ten minutes are that again when it is back.
func TestClock(t *testing.T) {
	wall := coretest.NewClock(time.Now())
	clock := steady.New(wall.Now)
	end := wall.Now().Round(0).Add(10 * time.Minute)
	ended := func(what string, want bool) {
		t.Helper()
		if got := clock.Now().After(end); got != want {
			t.Errorf("%s: ended is %v", what, got)
		}
	}
	ended("at first", false)
	wall.SetWall(year)
	ended("a year ahead", true)
	wall.SetWall(-year)
	ended("back again", false)
	wall.SetWall(-day)
	ended("a day behind", false)
	wall.Advance(10*time.Minute + 1)
	ended("ten minutes after that", true)
	wall.SetWall(day)
	ended("back again", true)
	if got := clock.Now(); !got.Equal(wall.Now()) {
		t.Errorf("it says %v at %v", got, wall.Now())
	}
}

// A clock without a monotonic reading is taken as it is.
func TestWallClockAlone(t *testing.T) {
	wall := coretest.NewClock(coretest.Start)
	clock := steady.New(wall.Now)
	for _, d := range []time.Duration{year, -2 * year, year} {
		wall.Advance(d)
		if got := clock.Now(); got.Before(wall.Now()) {
			t.Errorf("it says %v at %v", got, wall.Now())
		}
	}
}

func TestAge(t *testing.T) {
	for _, c := range []struct{ counted, set, want time.Duration }{
		{0, 0, 0}, {time.Minute, 0, time.Minute}, {time.Minute, day, day + time.Minute}, {time.Minute, -day, day - time.Minute}, {time.Minute, -time.Minute, time.Minute}, {time.Minute, year, year + time.Minute},
	} {
		clock := coretest.NewClock(time.Now())
		at := clock.Now()
		clock.Advance(c.counted)
		clock.SetWall(c.set)
		if got := steady.Age(at, clock.Now()); got != c.want {
			t.Errorf("%v later, with the clock set by %v: %v, want %v", c.counted, c.set, got, c.want)
		}
		if got := steady.Age(at.Round(0), clock.Now()); got != (c.counted + c.set).Abs() {
			t.Errorf("what was written down: %v, want %v", got, (c.counted + c.set).Abs())
		}
	}
}

package coretest

import (
	"fmt"
	"time"
	"unsafe"
)

// SetWall moves the wall clock alone, by whole seconds, backwards when d is negative, as an administrator or a time server does: the
// monotonic reading of what Now returns stays. The clock must have been made from a time that has one, such as time.Now's.
func (c *Clock) SetWall(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.now
	// Package time gives nobody such a time: above the nanoseconds (30 bits), wall counts seconds since 1885.
	parts := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&c.now))
	parts.wall += uint64(d/time.Second) << 30
	if c.now.Sub(was) != 0 || c.now.Round(0).Sub(was.Round(0)) != d {
		panic(fmt.Sprintf("coretest: setting the wall clock of %v by %v gave %v", was, d, c.now))
	}
}

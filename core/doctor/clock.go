package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// KernelClock asks the kernel whether something keeps the clock: adjtimex(2).
func KernelClock() (kept bool, err error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, fmt.Errorf("asking about the clock: %w", err)
	}
	return t.Status&unix.STA_UNSYNC == 0, nil
}

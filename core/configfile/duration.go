package configfile

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads days ("180d"), or hours and less as Go writes them
// ("36h").
func ParseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	return 0, fmt.Errorf("%q is neither days such as 180d nor a duration such as 36h", text)
}

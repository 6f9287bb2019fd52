package tilelog

import (
	"fmt"
	"strconv"
	"strings"
)

// maxLevel is the highest level of a tile (C2SP tlog-tiles).
const maxLevel = 63

// parsePath reads the part of a URL path after "tile/": "<L>/<N>[.p/<W>]", with
// dir ("entries" or "data") in the place of L for a bundle. Only the one canonical
// spelling is read; whatever else is not a resource.
func parsePath(path, dir string) (Resource, bool) {
	level, rest, _ := strings.Cut(path, "/")
	r := Resource{Kind: TileResource, Width: tileWidth}
	if level == dir {
		r.Kind = BundleResource
	} else {
		l, err := strconv.ParseUint(level, 10, 8)
		if err != nil || l > maxLevel {
			return Resource{}, false
		}
		r.Level = l
	}
	number, width, partial := strings.Cut(rest, ".p/")
	if partial {
		w, err := strconv.ParseUint(width, 10, 8)
		if err != nil || w == 0 {
			return Resource{}, false
		}
		r.Width = int(w)
	}
	for group := range strings.SplitSeq(number, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(group, "x"), 10, 16)
		if err != nil || n > 999 || r.Index > 1<<53 {
			return Resource{}, false
		}
		r.Index = r.Index*1000 + n
	}
	return r, r.path(dir) == path
}

// path is the canonical path of a tile or bundle, without "tile/" before it.
func (r Resource) path(dir string) string {
	number := fmt.Sprintf("%03d", r.Index%1000)
	for n := r.Index / 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	if r.Width < tileWidth {
		number += fmt.Sprintf(".p/%d", r.Width)
	}
	if r.Kind == TileResource {
		dir = strconv.FormatUint(r.Level, 10)
	}
	return dir + "/" + number
}

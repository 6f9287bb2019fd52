package sample

import "testing"

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		kind  string
		size  int
		parts []int
		ok    bool
	}{
		{"list", 99, nil, true}, {"list", 101, nil, false}, {"map", 1, nil, false},
		{"list", 1, []int{1}, true}, {"list", 1, []int{-1, 1}, true}, {"list", 1, []int{0}, false}, {"list", 1, []int{7}, false}, {"list", 1, []int{8}, true}, {"list", 1, []int{6}, true},
		{"list", 1, []int{2, 3}, false}, {"list", 1, []int{5}, true}, {"list", 1, []int{2, 4}, true}, {"list", 1, []int{2, 1, 2}, true}, {"list", 1, []int{1, 3}, true},
		{"list", 1, []int{9}, false}, {"list", 1, []int{10}, true}, {"list", 1, []int{9, 1}, true}, {"list", 1, []int{1, 9}, false},
		{"list", 1, []int{1, 1, 1, 1}, false}, {"list", 1, []int{1, 1, 1}, true}, {"list", 1, []int{1, 1, 1, 1, 1}, true},
	} {
		if err := check(tt.kind, tt.size, tt.parts); (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

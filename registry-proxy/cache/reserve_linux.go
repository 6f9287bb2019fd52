package cache

import (
	"errors"
	"os"
	"syscall"
)

// fallocKeepSize is FALLOC_FL_KEEP_SIZE: a file's size stays what was written.
const fallocKeepSize = 1

// reserve takes the blocks that a file will need, so that a full disk shows before the first byte has left. File systems that cannot
// do that show it later.
func reserve(f *os.File, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), fallocKeepSize, 0, max(size, 1))
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return err
}

func changeTime(s *syscall.Stat_t) int64 { return s.Ctim.Nano() }

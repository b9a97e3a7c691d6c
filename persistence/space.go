package persistence

import (
	"fmt"
	"syscall"
)

// Space returns how many bytes an ordinary user may still write to the file system
// that holds path, and how many it has in all.
func Space(path string) (free, size uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("look for room at %s: %w", path, err)
	}
	block := uint64(st.Bsize)
	return st.Bavail * block, st.Blocks * block, nil
}

package worker

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
)

// hasSpace reports whether there is room on disk for more work: a start that
// could not be written to the spool would cost the job an attempt.
func (n *Node) hasSpace() bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(n.conf.DataDir, &fs); err != nil {
		return true // the spool will say more
	}
	return int64(fs.Bavail)*fs.Bsize >= n.conf.MinFree
}

func (n *Node) diskFull() *entropy.Error {
	return entropy.Errorf(entropy.CodeDiskFull, "the disk of worker %s is full: less than %d bytes are free in %s", n.conf.Name, n.conf.MinFree, n.conf.DataDir).
		WithHint("free space there; the worker then takes work again by itself")
}

// awaitSpace blocks while the disk is full, and reports false when ctx ends.
func (n *Node) awaitSpace(ctx context.Context) bool {
	if n.hasSpace() {
		return true
	}
	n.log.Error("the worker takes no more work", slog.Any("error", n.diskFull()))
	tick := time.NewTicker(time.Second) // the disk tells nobody when it has room
	defer tick.Stop()
	for !n.hasSpace() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	n.log.Info("there is space again; the worker takes work")
	return true
}

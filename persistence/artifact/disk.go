package artifact

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/entropy-fabric/entropy"
)

// disk is every operation whose order or failure decides what survives. Tests
// put faults into it.
type disk struct {
	write  func(f *os.File, p []byte, at int64) (int, error)
	sync   func(f *os.File) error
	rename func(from, to string) error
}

func realDisk() *disk {
	return &disk{
		write:  func(f *os.File, p []byte, at int64) (int, error) { return f.WriteAt(p, at) },
		sync:   (*os.File).Sync,
		rename: os.Rename,
	}
}

// syncDir makes the names in a directory durable.
func (d *disk) syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.sync(f)
}

// dirSync makes renames durable for many callers at once: those that ask while
// an fsync is under way share the next one.
type dirSync struct {
	disk *disk

	work sync.Mutex // held by the one that syncs

	mu     sync.Mutex
	next   *syncBatch // what the next sync will cover; nil when nobody waits
	broken error      // of an fsync that failed: what the kernel then holds is unknown
}

// syncBatch is a set of directories. done and err are guarded by dirSync.work.
type syncBatch struct {
	dirs map[string]bool
	done bool
	err  error
}

// Sync returns when every change made to the directories before the call is durable.
func (d *dirSync) Sync(dirs ...string) error {
	if len(dirs) == 0 {
		return nil
	}
	return d.wait(d.join(dirs))
}

// join adds directories to the next batch.
func (d *dirSync) join(dirs []string) *syncBatch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next == nil {
		d.next = &syncBatch{dirs: make(map[string]bool)}
	}
	for _, dir := range dirs {
		d.next.dirs[dir] = true
	}
	return d.next
}

// wait returns when the batch is synced, by this call or by another.
func (d *dirSync) wait(b *syncBatch) error {
	d.work.Lock()
	defer d.work.Unlock()
	if !b.done {
		d.run(b)
	}
	return b.err
}

// run closes the batch and syncs it. An fsync that failed is never retried, as
// a second one may report success for what was dropped; a full disk may be.
func (d *dirSync) run(b *syncBatch) {
	d.mu.Lock()
	d.next = nil
	b.err = d.broken
	d.mu.Unlock()
	b.done = true
	for dir := range b.dirs {
		if b.err == nil {
			b.err = d.disk.syncDir(dir)
		}
	}
	if b.err != nil && !diskFull(b.err) {
		d.mu.Lock()
		d.broken = b.err
		d.mu.Unlock()
	}
}

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// fault explains an error of the file system.
func (s *Store) fault(what string, err error) error {
	if diskFull(err) {
		return entropy.Errorf(entropy.CodeDiskFull, "%s: the disk is full", what).
			WithHint("free space below %s and repeat the call", s.conf.Dir)
	}
	return fmt.Errorf("%s: %w", what, err)
}

package journal

import (
	"context"
	"database/sql/driver"
	"errors"
	"strconv"
)

// checkpointer moves the write-ahead log into the main file beside the committer,
// so that no commit waits for it. It has a connection of its own. What it cannot
// keep up with, a commit moves itself; see backstop.
type checkpointer struct {
	*conn
	every   int           // pages of the log between two runs
	pages   int           // written since the last one: the committer's estimate
	due     chan struct{} // has a token when it should run
	stop    chan struct{}
	stopped chan struct{}
}

// backstop is the length of the log, in multiples of checkpointPages, at which a
// commit moves what is left of it itself. The log can start anew only at a moment
// when all of it has been moved, and under a steady load only the committer can
// make such a moment.
const backstop = 4

func newCheckpointer(ctx context.Context, cfg *Config) (*checkpointer, error) {
	w := new(writer)
	var err error
	if w.conn, err = connect(cfg.Path, modeWrite, cfg.synchronous()); err != nil {
		return nil, err
	}
	if err := w.tune(ctx, cfg); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &checkpointer{conn: w.conn, every: cfg.checkpointPages, due: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}, nil
}

// wrote tells the checkpointer of a committed batch. Only the committer calls it.
func (c *checkpointer) wrote(bytes int) {
	const perCommit, perPage = 8, 2048 // a commit touches a page or so of each index, and fills pages by half
	if c.pages += perCommit + bytes/perPage; c.pages < c.every {
		return
	}
	c.pages = 0
	select {
	case c.due <- struct{}{}:
	default: // it is at it
	}
}

// run works until stop is closed. A failure loses nothing, the log still has it
// all; but it is an early sign of a bad disk.
func (c *checkpointer) run(failed func(error)) {
	defer close(c.stopped)
	for {
		select {
		case <-c.stop:
			return
		case <-c.due:
			if err := c.each(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)", nil, func([]driver.Value) error { return nil }); err != nil {
				failed(err)
			}
		}
	}
}

// end stops it and waits for it. The connection stays.
func (c *checkpointer) end() {
	close(c.stop)
	<-c.stopped
}

// autocheckpoint is the pragma that makes the backstop.
func autocheckpoint(cfg *Config) string {
	return "wal_autocheckpoint=" + strconv.Itoa(backstop*cfg.checkpointPages)
}

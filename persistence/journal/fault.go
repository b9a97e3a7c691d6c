package journal

import (
	"errors"
	"syscall"

	"github.com/mattn/go-sqlite3"

	"github.com/entropy-fabric/entropy"
)

// trouble answers the members of a batch that could not be committed, and decides
// what becomes of the journal.
func (j *Journal) trouble(batch []*request, err error) {
	we, _ := errors.AsType[*writeError](err)
	switch {
	case we != nil && we.rolledBack && isFull(we.err):
		j.setReadOnly(true)
		j.stats.refusedFull()
		release(batch, entropy.Errorf(entropy.CodeDiskFull, "the journal's disk is full; nothing was recorded").
			WithHint("free space on its file system; the journal resumes by itself"))
	case we != nil && !we.begun && we.rolledBack && isBusy(we.err):
		j.cfg.Logger.Warn("journal is locked by another program", "path", j.cfg.Path, "error", we.err)
		release(batch, entropy.Errorf(entropy.CodeUnavailable, "another program has locked the journal; nothing was recorded").
			WithHint("find it with: fuser %s", j.cfg.Path))
	default:
		j.fail(err)
		release(batch, entropy.Errorf(entropy.CodeUnknown, "the journal failed in mid-commit: %v", err).
			WithHint("start the control plane again, then repeat the call with the same identifiers"))
	}
}

// fail stops the journal for good. What still waits was never tried and gets
// CodeUnavailable.
func (j *Journal) fail(err error) {
	j.mu.Lock()
	first := j.err == nil
	if first {
		j.err = err
	}
	j.mu.Unlock()
	if !first {
		return
	}
	j.cfg.Logger.Error("journal failed; nothing is acknowledged any more", "path", j.cfg.Path, "seq", j.Seq(), "error", err)
	j.queue.close(unavailable(err))
	close(j.fatal)
}

func unavailable(err error) error {
	return entropy.Errorf(entropy.CodeUnavailable, "the journal has failed; nothing was recorded: %v", err).
		WithHint("start the control plane again: it recovers what was acknowledged")
}

// isFull reports an error that says there is no room and of which a rollback
// leaves nothing behind. SQLite writes the frame that commits last, so a write
// that found no room did not write it. An fsync that finds no room is not among
// them: what it left on the disk is unknown.
func isFull(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return false
	}
	return e.Code == sqlite3.ErrFull ||
		e.ExtendedCode == sqlite3.ErrIoErrWrite && (e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT)
}

func isBusy(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && e.Code == sqlite3.ErrBusy
}

func (j *Journal) setReadOnly(on bool) {
	if j.readOnly.Swap(on) == on {
		return
	}
	if on {
		j.cfg.Logger.Error("disk full: the journal is read-only", "path", j.cfg.Path, "seq", j.Seq())
		return
	}
	j.cfg.Logger.Info("the journal has room again", "path", j.cfg.Path, "seq", j.Seq())
}

// probeBytes is how much room a full disk must have before the journal believes
// in it: enough for a few batches, so that it does not change its mind at once.
const probeBytes = 1 << 20

// probe looks whether the disk has room again, by writing as much as a batch may
// and committing it.
func (j *Journal) probe() {
	err := j.probeWrite("INSERT OR REPLACE INTO probe(one, fill) VALUES (1, zeroblob(?))", probeBytes)
	if err == nil {
		err = j.probeWrite("DELETE FROM probe WHERE one=?", 1)
	}
	we, _ := errors.AsType[*writeError](err)
	switch {
	case err == nil:
		j.setReadOnly(false)
	case we != nil && we.rolledBack && (isFull(we.err) || !we.begun && isBusy(we.err)):
		// Not yet.
	default:
		j.fail(err)
	}
}

func (j *Journal) probeWrite(sql string, arg int64) error {
	w := j.w
	if _, err := w.begin.exec(); err != nil {
		return &writeError{err: err, rolledBack: w.AutoCommit()}
	}
	err := w.exec(sql, arg)
	if err == nil {
		_, err = w.commit.exec()
	}
	if err != nil {
		return w.abandon(err)
	}
	return nil
}

func isCorrupt(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB || e.Code == sqlite3.ErrIoErr)
}

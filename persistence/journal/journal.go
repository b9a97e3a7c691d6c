package journal

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Journal is an open journal. Its methods are safe for concurrent use, but Tap,
// which comes before the first Append. One process at a time may have a file
// open as a Journal; see [persistence.OpenDir].
type Journal struct {
	*Reader

	cfg   Config
	queue *queue
	w     *writer // the committer's alone

	checkpoints *checkpointer
	taps        []func([]entropy.Change)

	seq      atomic.Uint64 // last durable
	readOnly atomic.Bool
	stats    counters
	buffers  sync.Pool // see prepare

	fatal chan struct{} // closed when the journal can no longer be trusted
	mu    sync.Mutex
	err   error // why it is closed

	closing sync.Once
	quit    chan struct{} // Close was called
	stopped chan struct{} // the committer has ended
	closed  error         // what closing gave; final once stopped is closed
}

// ClusterID returns the random name the journal was given when it was made.
func (j *Journal) ClusterID() string { return j.clusterID }

// Epoch returns the epoch of the journal's history, from 1. It rises when a
// standby is promoted or a backup restored.
func (j *Journal) Epoch() uint64 { return j.epoch }

// Seq returns the position of the last durable event, 0 in an empty journal.
func (j *Journal) Seq() uint64 { return j.seq.Load() }

// ReadOnly reports whether the disk is full. Reads work, appends get
// CodeDiskFull; it ends by itself when there is room again.
func (j *Journal) ReadOnly() bool { return j.readOnly.Load() }

// Fatal returns a channel that is closed when a commit failed in a way that
// leaves its outcome unknown. Nothing is acknowledged after that: the process
// should exit and open the journal anew.
func (j *Journal) Fatal() <-chan struct{} { return j.fatal }

// Err returns why Fatal is closed, nil while it is not.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Tap registers f, which the committer calls with every committed batch, in
// commit order, after COMMIT and before the appends of the batch return. The
// Events of each change have Seq, Version and EntityID filled in; f must change
// nothing, keep no slice it was given, and not block: all appends wait for it.
// Register before the first Append.
func (j *Journal) Tap(f func(batch []entropy.Change)) { j.taps = append(j.taps, f) }

// Append makes all changes durable, in one transaction, or none, and returns the
// position of the last event. When it returns nil the events are on the disk and
// the taps have seen them. The states handed over in the changes are read until
// then and must never be modified; the Events of the caller's changes get their
// EntityID, Version and Seq.
//
// It returns an [entropy.Error]:
//
//   - CodeConflict: a version, lease or operation contradicts what is recorded.
//   - CodeOverloaded: QueueLimit appends wait already.
//   - CodeDiskFull: there is no room; see ReadOnly.
//   - CodeUnavailable: the journal is closed or has failed, or ctx ended while
//     the append was still waiting.
//   - CodeUnknown: the commit failed, or ctx ended while it was under way: it may
//     or may not have happened.
//   - CodeInternal: the changes contradict themselves.
//
// After any code but CodeUnknown nothing was recorded.
func (j *Journal) Append(ctx context.Context, changes ...entropy.Change) (entropy.Position, error) {
	if len(changes) == 0 {
		return entropy.Position{Epoch: j.epoch, Seq: j.Seq()}, nil
	}
	r, err := prepare(changes, &j.buffers)
	if err != nil {
		return entropy.Position{}, err
	}
	if err := j.submit(ctx, r); err != nil {
		return entropy.Position{}, err
	}
	seq := r.first
	for i := range changes {
		for k := range changes[i].Events {
			e := &changes[i].Events[k]
			e.EntityID, e.Version, e.Seq = changes[i].Entity, changes[i].Expected+uint64(k)+1, seq
			seq++
		}
	}
	return entropy.Position{Epoch: j.epoch, Seq: seq - 1}, nil
}

// submit queues a request and waits for its outcome.
func (j *Journal) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return entropy.Errorf(entropy.CodeUnavailable, "the call ended before it was recorded: %v", err)
	}
	if err := j.queue.push(r); err != nil {
		return err
	}
	if ctx.Done() == nil { // most callers: an actor waits as long as it takes
		<-r.done
		return r.err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if r.state.withdraw() {
		return entropy.Errorf(entropy.CodeUnavailable, "the call ended before it was recorded: %v", ctx.Err())
	}
	select {
	case <-r.done: // it was just finished: that is the better answer
		return r.err
	default:
		return entropy.Errorf(entropy.CodeUnknown, "the call ended while it was being recorded: %v", ctx.Err()).
			WithHint("repeat it with the same identifiers to learn whether it was")
	}
}

// Close writes what waits, ends the committer and closes the file. Appends that
// come later get CodeUnavailable. It is idempotent; every call waits until all is
// done and returns the same error.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		close(j.quit)
		j.queue.close(entropy.Errorf(entropy.CodeUnavailable, "the journal is closed"))
	})
	<-j.stopped
	return j.closed
}

// commitLoop is the committer: the only goroutine that writes.
func (j *Journal) commitLoop() {
	defer close(j.stopped)
	var batch []*request
	for {
		batch = j.queue.take(batch[:0], j.cfg.MaxBatch, maxBatchBytes)
		if len(batch) > 0 {
			j.commitBatch(batch)
			clear(batch)
			continue
		}
		if j.finished() {
			break
		}
		j.pause()
	}
	j.checkpoints.end()
	if j.Err() != nil {
		// The writer stays as it is: closing it would move what nobody is sure of
		// from the log into the main file. The next Open recovers.
		j.closed = errors.Join(j.Reader.Close(), j.checkpoints.Close())
		return
	}
	// The last connection to close is the one that can move the log into the main file.
	j.closed = errors.Join(j.Reader.Close(), j.checkpoints.Close(), j.w.close())
}

// finished reports that Close was called and nothing waits.
func (j *Journal) finished() bool {
	select {
	case <-j.quit:
		return j.queue.len() == 0
	default:
		return false
	}
}

// pause waits for work. While the disk is full it also looks for room.
func (j *Journal) pause() {
	if !j.readOnly.Load() {
		<-j.queue.wake
		return
	}
	timer := time.NewTimer(j.cfg.probeEvery)
	defer timer.Stop()
	select {
	case <-j.queue.wake:
	case <-timer.C:
		j.probe()
	}
}

// commitBatch writes a batch, informs the taps and releases the callers.
func (j *Journal) commitBatch(batch []*request) {
	if err := j.Err(); err != nil { // it failed while these waited
		release(batch, unavailable(err))
		return
	}
	start := time.Now()
	wrote, err := j.w.write(batch)
	if err != nil {
		j.trouble(batch, err)
		return
	}
	j.stats.decided(batch)
	if wrote {
		j.checkpoints.wrote(j.stats.committed(batch, time.Since(start)))
		j.setReadOnly(false)
		j.seq.Store(j.w.seq)
		j.inform(batch)
	}
	release(batch, nil)
}

// inform fills in the positions and calls the taps.
func (j *Journal) inform(batch []*request) {
	changes := make([]entropy.Change, 0, len(batch))
	for _, r := range batch {
		if r.err != nil {
			continue
		}
		seq := r.first
		for i := range r.entries {
			c := r.entries[i].change
			for k := range c.Events {
				c.Events[k].Seq = seq
				seq++
			}
			changes = append(changes, c)
		}
	}
	if len(changes) == 0 {
		return
	}
	for _, f := range j.taps {
		f(changes)
	}
}

// release lets the callers of a batch go. Those without an error of their own get err.
func release(batch []*request, err error) {
	for _, r := range batch {
		if c, ok := errors.AsType[*conflictError](r.err); ok {
			r.err = c.answer
		} else if r.err == nil {
			r.err = err
		}
		r.entries = nil // what it held is not needed to answer
		close(r.done)
	}
}

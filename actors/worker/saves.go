package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/checkpoint"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

const (
	// saveInterval is how often ready/ of a running job is looked into.
	saveInterval = 200 * time.Millisecond
	// savers is how many checkpoints may be on their way: reading and hashing them
	// takes up a CPU each, which is the jobs'.
	savers = 2
	// savePatience is how many times the last checkpoint of an ended job may fail to
	// be saved, while the control plane answers otherwise, before its result goes
	// without it.
	savePatience = 10
)

// saves is what the node knows of the checkpoints of its assignments.
type saves struct {
	room chan struct{} // a token for each checkpoint on its way

	mu    sync.Mutex
	notes map[entropy.AssignmentID]string // what was restored, until they start
	byID  map[entropy.AssignmentID]*saving
}

// saving is one assignment that may save checkpoints.
type saving struct {
	job   entropy.JobID
	saver *checkpoint.Saver
	dir   checkpoint.Dir

	// Guarded by saves.mu.
	busy  bool
	over  bool      // it may save no more
	after time.Time // of the next try
	wait  *backoff
}

func newSaves() *saves {
	return &saves{room: make(chan struct{}, savers), notes: map[entropy.AssignmentID]string{}, byID: map[entropy.AssignmentID]*saving{}}
}

// note keeps what is to be said at the beginning of an assignment's log.
func (s *saves) note(id entropy.AssignmentID, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes[id] = text
}

// beginCheckpoints looks after the checkpoints of an assignment that starts now. It
// returns what is to be said at the beginning of its log.
func (n *Node) beginCheckpoints(a *entropy.Assignment) string {
	if a.Spec.Checkpoint == nil || a.Spec.Handler != "" {
		return ""
	}
	n.saving(a.JobID, a.AssignmentID)
	n.saves.mu.Lock()
	defer n.saves.mu.Unlock()
	text := n.saves.notes[a.AssignmentID]
	delete(n.saves.notes, a.AssignmentID)
	return text
}

// saving returns the saving of an assignment, made if need be.
func (n *Node) saving(job entropy.JobID, id entropy.AssignmentID) *saving {
	n.saves.mu.Lock()
	defer n.saves.mu.Unlock()
	v := n.saves.byID[id]
	if v == nil {
		dir := checkpoint.At(n.exec.root.Dir(id).Path())
		v = &saving{job: job, dir: dir, wait: newBackoff(), saver: checkpoint.New(checkpoint.Config{Dir: dir, JobID: job, AssignmentID: id, Logger: n.log})}
		n.saves.byID[id] = v
	}
	return v
}

// adoptCheckpoints takes over the checkpoints of an assignment that runs already.
func (n *Node) adoptCheckpoints(h entropy.Held, ex executor) {
	if ex == executor(n.exec) && checkpoint.At(n.exec.root.Dir(h.AssignmentID).Path()).Enabled() {
		n.saving(h.JobID, h.AssignmentID)
	}
}

func (s *saves) forget(ds []spool.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		delete(s.byID, d.AssignmentID)
		delete(s.notes, d.AssignmentID)
	}
}

// prune forgets assignments that are of no interest any more.
func (s *saves) prune(keep func(entropy.AssignmentID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, v := range s.byID {
		if !v.busy && !keep(id) {
			delete(s.byID, id)
		}
	}
	for id := range s.notes {
		if !keep(id) {
			delete(s.notes, id)
		}
	}
}

// due returns the assignments whose ready/ should be looked into now, each marked
// busy, and those that are being saved.
func (s *saves) due(now time.Time) (due, busy []*saving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.byID {
		switch {
		case v.over:
		case v.busy || now.Before(v.after):
			busy = append(busy, v)
		default:
			v.busy = true
			due = append(due, v)
		}
	}
	return due, busy
}

// done notes what came of a look.
func (s *saves) done(v *saving, over bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.busy, v.over = false, v.over || over
	if err == nil {
		v.wait = newBackoff()
		return
	}
	v.after = time.Now().Add(v.wait.next)
	v.wait.next = min(2*v.wait.next, v.wait.limit)
}

// prepare brings what an assignment needs into its workspace: its inputs, and the
// checkpoint that it resumes from. Errors are as fetchInputs has them.
func (n *Node) prepare(ctx context.Context, a *entropy.Assignment) error {
	if len(a.Spec.Inputs) > 0 {
		if err := n.fetchInputs(ctx, a); err != nil {
			return err
		}
	}
	if len(a.Checkpoints) == 0 || a.Spec.Checkpoint == nil || a.Spec.Handler != "" {
		return nil
	}
	d, err := n.makeDir(a)
	if err != nil {
		return err
	}
	dir := checkpoint.At(d.Path())
	if err := dir.Make(a.Spec.Checkpoint); err != nil {
		return err
	}
	began := time.Now()
	text, err := checkpoint.Restore(ctx, checkpoint.Config{Dir: dir, JobID: a.JobID, AssignmentID: a.AssignmentID, Logger: n.log}, n.conf.Service, a.Checkpoints)
	if err != nil {
		return err
	}
	n.log.Info("checkpoint restored", slog.String("job_id", string(a.JobID)), slog.String("what", text), slog.Duration("took", time.Since(began)))
	n.saves.note(a.AssignmentID, text)
	return nil
}

// saveCheckpoints saves what running jobs mark as their state, while they run.
func (s *session) saveCheckpoints() {
	if s.n.exec == nil {
		return
	}
	var working sync.WaitGroup
	defer working.Wait()
	tick := time.NewTicker(saveInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		s.n.saves.prune(func(id entropy.AssignmentID) bool { return s.n.slots.has(id) || s.n.out.has(id) })
		due, busy := s.n.saves.due(time.Now())
		for _, v := range due {
			working.Go(func() { s.saveOne(v) })
		}
		for _, v := range busy {
			if err := v.dir.Thin(); err != nil {
				s.n.log.Debug("old checkpoints cannot be removed yet", slog.Any("error", err))
			}
		}
	}
}

// saveOne saves what a job has ready, if anything.
func (s *session) saveOne(v *saving) {
	var result checkpoint.Result
	var err error
	defer func() { s.n.saves.done(v, result == checkpoint.Over, err) }()
	select {
	case s.n.saves.room <- struct{}{}:
		defer func() { <-s.n.saves.room }()
	case <-s.ctx.Done():
		return
	}
	if result, err = v.saver.Save(s.ctx, s.n.conf.Service, false); err != nil && s.ctx.Err() == nil {
		s.failed(err)
		s.n.log.Info("a checkpoint could not be saved yet", slog.String("job_id", string(v.job)), slog.Any("error", err))
	}
}

// finishCheckpoint saves what a job marked just before it ended, if another
// attempt may want it, with bounded patience: it does not hold the result back for
// ever.
func (s *session) finishCheckpoint(r *result) {
	if !r.exit.Checkpoint || r.ex != executor(s.n.exec) {
		return
	}
	c := &r.exit.Completion
	v, wait := s.n.saving(c.JobID, c.AssignmentID), newBackoff()
	for failures := 0; failures < savePatience && s.ctx.Err() == nil; {
		began := time.Now()
		result, err := v.saver.Save(s.ctx, s.n.conf.Service, true)
		switch {
		case err == nil && (result == checkpoint.Nothing || result == checkpoint.Over):
			return
		case err == nil:
			continue // there may be another
		case s.n.connected(began) || !unreachable(err):
			failures++
		}
		s.failed(err)
		if failures == savePatience && !errors.Is(err, context.Canceled) {
			s.n.log.Warn("the last checkpoint of a job could not be saved", slog.String("assignment_id", string(c.AssignmentID)), slog.Any("error", err))
		}
		wait.pause(s.ctx)
	}
}

package actors

import (
	"context"
	"io"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/job"
)

// The streams of a job's output.
const (
	stdout = "stdout"
	stderr = "stderr"
)

// maxLogChunk bounds one answer of Log, in bytes.
const maxLogChunk = 1 << 20

func logKey(a entropy.AssignmentID) string { return "log:" + string(a) }

// Log implements entropy.Service.
func (s *System) Log(ctx context.Context, q entropy.LogQuery) (entropy.LogChunk, error) {
	if q.Stream != stdout && q.Stream != stderr {
		return entropy.LogChunk{}, entropy.Errorf(entropy.CodeInvalid, "stream %q: it is stdout or stderr", q.Stream)
	}
	if q.Limit <= 0 || q.Limit > maxLogChunk {
		q.Limit = maxLogChunk
	}
	deadline := time.NewTimer(q.Wait)
	defer deadline.Stop()
	for {
		chunk, a, err := s.readLog(ctx, &q)
		if err != nil || len(chunk.Data) > 0 || chunk.EOF || q.Wait <= 0 {
			return chunk, err
		}
		if !s.moreLog(ctx, q.JobID, a, deadline.C) {
			return chunk, nil
		}
		if s.closing.Load() {
			return chunk, errStopping()
		}
	}
}

// moreLog waits for output of an attempt, or for the job to end or be tried
// again, and reports whether it is worth reading once more.
func (s *System) moreLog(ctx context.Context, id entropy.JobID, a entropy.AssignmentID, deadline <-chan time.Time) bool {
	written, quit := s.bell.listen(logKey(a))
	defer quit()
	again := time.NewTicker(time.Second) // what ended between the reading and the listening
	defer again.Stop()
	ended, quitEnded := s.bell.listen(entropy.Entity(entropy.KindJob, string(id)))
	defer quitEnded()
	select {
	case <-written:
	case <-ended:
	case <-again.C:
	case <-s.done:
	case <-deadline:
		return false
	case <-ctx.Done():
		return false
	}
	return true
}

// readLog reads once. It fixes q.Attempt and a negative q.Offset on the way.
func (s *System) readLog(ctx context.Context, q *entropy.LogQuery) (entropy.LogChunk, entropy.AssignmentID, error) {
	j, err := s.existing(ctx, q.JobID)
	if err != nil {
		return entropy.LogChunk{}, "", err
	}
	t := startedAttempt(j, q.Attempt)
	if t == nil {
		if q.Attempt > 0 {
			return entropy.LogChunk{}, "", entropy.Errorf(entropy.CodeNotFound, "job %s has no attempt %d that started", j.ID, q.Attempt)
		}
		return entropy.LogChunk{EOF: j.State.Terminal()}, "", nil
	}
	q.Attempt = t.Number
	if q.Offset < 0 {
		q.Offset = max(0, s.cfg.Store.LogSize(t.AssignmentID, q.Stream)+q.Offset)
	}
	data, next, err := s.cfg.Store.ReadLog(t.AssignmentID, q.Stream, q.Offset, q.Limit)
	if err != nil {
		return entropy.LogChunk{}, "", err
	}
	q.Offset = next
	eof := t.End != "" && next >= s.cfg.Store.LogSize(t.AssignmentID, q.Stream)
	return entropy.LogChunk{Data: data, Next: next, Attempt: t.Number, EOF: eof}, t.AssignmentID, nil
}

func startedAttempt(j *entropy.Job, number int) *entropy.Attempt {
	for i := len(j.Attempts) - 1; i >= 0; i-- {
		if t := &j.Attempts[i]; t.StartedAt != nil && (number == 0 || t.Number == number) {
			return t
		}
	}
	return nil
}

// OpenArtifact implements entropy.Service.
func (s *System) OpenArtifact(ctx context.Context, id entropy.JobID, name string) (io.ReadCloser, entropy.Artifact, error) {
	j, err := s.existing(ctx, id)
	if err != nil {
		return nil, entropy.Artifact{}, err
	}
	for _, a := range j.Artifacts {
		if a.Name == name {
			r, _, err := s.cfg.Store.Open(a.SHA256)
			return r, a, err
		}
	}
	return nil, entropy.Artifact{}, entropy.Errorf(entropy.CodeNotFound, "job %s has no artifact %q", id, name).
		WithHint("entropy artifacts ls %s lists what it has", id)
}

// StageArtifact implements entropy.WorkerService.
func (s *System) StageArtifact(ctx context.Context, u entropy.ArtifactUpload, r io.Reader) (int64, error) {
	if err := s.mayAccept(ctx, u.JobID, u.AssignmentID); err != nil {
		return 0, err
	}
	return s.cfg.Store.Stage(ctx, u.AssignmentID, u.SHA256, u.Size, u.Offset, r)
}

// AppendLog implements entropy.WorkerService.
func (s *System) AppendLog(ctx context.Context, u entropy.LogUpload, p []byte) (int64, error) {
	if u.Stream != stdout && u.Stream != stderr {
		return 0, entropy.Errorf(entropy.CodeInvalid, "stream %q: it is stdout or stderr", u.Stream)
	}
	if err := s.mayAccept(ctx, u.JobID, u.AssignmentID); err != nil {
		return 0, err
	}
	n, err := s.cfg.Store.AppendLog(u.AssignmentID, u.Stream, u.Offset, p)
	if err == nil {
		s.bell.ring(logKey(u.AssignmentID))
	}
	return n, err
}

// mayAccept returns nil while a completion of the assignment by the calling
// worker could still be accepted.
func (s *System) mayAccept(ctx context.Context, id entropy.JobID, a entropy.AssignmentID) error {
	if err := entropy.ValidateID("job id", string(id)); err != nil {
		return err
	}
	if err := entropy.ValidateID("assignment id", string(a)); err != nil {
		return err
	}
	w := entropy.WorkerID(entropy.PrincipalFrom(ctx).Name)
	_, err := s.jobs.Ask(ctx, string(id), &job.MayAccept{AssignmentID: a, WorkerID: w}).Await(ctx)
	return err
}

// OpenBlob implements entropy.WorkerService.
func (s *System) OpenBlob(_ context.Context, hash string) (io.ReadCloser, error) {
	r, _, err := s.cfg.Store.Open(hash)
	return r, err
}

// Status implements entropy.Service.
func (s *System) Status(ctx context.Context) (entropy.Status, error) {
	p := s.cfg.Journal.Position()
	st := entropy.Status{Version: s.cfg.Version, ClusterID: s.cfg.Journal.ClusterID(), Epoch: p.Epoch, Seq: p.Seq,
		StartedAt: s.started.UTC(), Jobs: make(map[entropy.State]int64), Workers: make(map[string]int),
		ReadOnly: s.cfg.Journal.ReadOnly(), ClockUnsettled: !s.clock.Settled(), DeadLetters: s.backlog.dead.Load(), Relays: []entropy.RelayStatus{}, Alarms: []string{}, Counters: make(map[string]float64)}
	for _, state := range entropy.States {
		st.Jobs[state] = 0
	}
	s.tally.mu.Lock()
	for state, n := range s.tally.states {
		st.Jobs[state] = n
	}
	for typ, n := range s.tally.events {
		st.Counters[typ] = float64(n)
	}
	st.Counters["late_results"] = float64(s.tally.late)
	s.tally.mu.Unlock()
	for _, w := range s.registry.List() {
		st.Workers[string(w.State)]++
	}
	if st.ReadOnly {
		st.Alarms = append(st.Alarms, "the disk of the control plane is full: it answers and renews leases, and records nothing")
	}
	if why := s.clock.Alarm(); why != "" {
		st.Alarms = append(st.Alarms, why)
	}
	if s.cfg.Alarms != nil {
		st.Alarms = append(st.Alarms, s.cfg.Alarms(ctx)...)
	}
	return st, nil
}

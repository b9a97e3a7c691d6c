package entropy

import (
	"slices"
	"time"
)

// SaveCheckpoint makes a checkpoint, whose parts are durable, the job's newest.
// A repeat, also of an older one of the assignment, changes nothing.
type SaveCheckpoint struct {
	AssignmentID AssignmentID
	WorkerID     WorkerID
	Seq          uint64 // rises within the assignment
	Manifest     CheckpointPart
	Size         int64
	Files        int
	Uploaded     int64
}

func (c SaveCheckpoint) decide(j *Job, now time.Time) (Decision, error) {
	t, err := j.own(c.AssignmentID, c.WorkerID)
	if err != nil {
		return Decision{}, err
	}
	if last := j.lastCheckpointOf(c.AssignmentID); last != nil && c.Seq <= last.Seq {
		if c.Seq == last.Seq && c.Manifest != last.Manifest {
			return Decision{}, Errorf(CodeConflict, "checkpoint %d of assignment %s is another one", c.Seq, c.AssignmentID).WithHint("commit it with a higher seq")
		}
		return Decision{Repeat: true}, nil
	}
	if err := j.MayCheckpoint(c.AssignmentID, c.WorkerID, c.Size); err != nil {
		return Decision{}, err
	}
	if c.Seq == 0 || !ValidSHA256(c.Manifest.SHA256) || c.Size < 0 || c.Files < 0 {
		return Decision{}, Errorf(CodeInvalid, "checkpoint %d of assignment %s has no seq, manifest or size", c.Seq, c.AssignmentID)
	}
	return one(JobCheckpointed, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: c.WorkerID,
		Checkpoint: &Checkpoint{AssignmentID: c.AssignmentID, Attempt: t.Number, Seq: c.Seq, Manifest: c.Manifest,
			Size: c.Size, Files: c.Files, Uploaded: c.Uploaded, At: now}}), nil
}

// RefuseCheckpoint records that a checkpoint was not saved, and why: the first
// time since the last that was.
type RefuseCheckpoint struct {
	AssignmentID AssignmentID
	WorkerID     WorkerID
	Message      string
}

func (c RefuseCheckpoint) decide(j *Job, now time.Time) (Decision, error) {
	if err := j.MayCheckpoint(c.AssignmentID, c.WorkerID, 0); err != nil {
		return Decision{}, err
	}
	if j.CheckpointRefused != "" {
		return Decision{Repeat: true}, nil
	}
	return one(JobCheckpointRefused, now, JobAttrs{AssignmentID: c.AssignmentID, WorkerID: c.WorkerID,
		Message: cut(orDefault(c.Message, "its worker did not say why"))}), nil
}

// MayCheckpoint returns nil while the assignment may save a checkpoint of so many
// bytes: it is the live one, and was ACKed. CodeSuperseded and CodeForbidden and
// CodeNotFound are final; CodeUnavailable says that its lease has ended and may
// still be given back; CodeTooLarge and CodeInvalid that the spec does not allow it.
func (j *Job) MayCheckpoint(id AssignmentID, w WorkerID, size int64) error {
	t, err := j.own(id, w)
	switch {
	case err != nil:
		return err
	case j.Spec.Checkpoint == nil:
		return Errorf(CodeInvalid, "job %s does not keep checkpoints", j.ID).WithHint("submit it with --checkpoint")
	case size > j.Spec.Checkpoint.MaxSizeOrDefault():
		return Errorf(CodeTooLarge, "a checkpoint of %d bytes is larger than the %d that job %s allows", size, j.Spec.Checkpoint.MaxSizeOrDefault(), j.ID).
			WithHint("save less, or submit the job with a larger checkpoint.max_size")
	case j.Lease != nil && j.Lease.AssignmentID == id && j.Lease.Acked:
		return nil
	case j.Lease != nil && j.Lease.AssignmentID == id || j.canReturn(t):
		return Errorf(CodeUnavailable, "assignment %s of job %s holds no lease just now", id, j.ID).WithHint("repeat it when the lease is renewed")
	}
	return Errorf(CodeSuperseded, "assignment %s of job %s may no longer save checkpoints", id, j.ID)
}

// lastCheckpointOf returns the newest kept checkpoint of an assignment, or nil.
func (j *Job) lastCheckpointOf(id AssignmentID) *Checkpoint {
	if n := len(j.Checkpoints); n > 0 && j.Checkpoints[n-1].AssignmentID == id {
		return &j.Checkpoints[n-1] // those of one assignment lie together: it was the only live one
	}
	return nil
}

// ResumeFrom returns the job's checkpoints in the order in which its next attempt
// tries them: the last committed of the highest ACKed attempt first. It returns a
// copy.
func (j *Job) ResumeFrom() []Checkpoint {
	list := slices.Clone(j.Checkpoints)
	slices.Reverse(list)
	return list
}

// applyCheckpoint follows an event about a checkpoint. Only the live, ACKed
// attempt saves any, so the newest is that of the highest ACKed attempt.
func (j *Job) applyCheckpoint(e *JobEvent) {
	if e.Type == JobCheckpointRefused {
		j.CheckpointRefused = e.Attrs.Message
		return
	}
	j.CheckpointRefused = ""
	kept := j.Checkpoints[max(0, len(j.Checkpoints)+1-max(j.Spec.Checkpoint.KeepOrDefault(), 1)):]
	j.Checkpoints = append(append(make([]Checkpoint, 0, len(kept)+1), kept...), *e.Attrs.Checkpoint)
}

// AskCheckpoint asks whether the assignment may save a checkpoint of so many bytes
// now, as [Job.MayCheckpoint] says. It changes nothing.
type AskCheckpoint struct {
	AssignmentID AssignmentID
	WorkerID     WorkerID
	Size         int64
}

func (c AskCheckpoint) decide(j *Job, _ time.Time) (Decision, error) {
	return Decision{}, j.MayCheckpoint(c.AssignmentID, c.WorkerID, c.Size)
}

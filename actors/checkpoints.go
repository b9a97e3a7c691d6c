package actors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/job"
)

// CheckpointStore keeps the parts of jobs' checkpoints. Its methods are safe for
// concurrent use.
type CheckpointStore interface {
	PutCheckpoint(ctx context.Context, id entropy.JobID, p entropy.CheckpointPart, r io.Reader) error
	// MissingCheckpoint returns the parts that are not stored; when it returns none,
	// all of them are durable.
	MissingCheckpoint(id entropy.JobID, parts []entropy.CheckpointPart) (missing []string, err error)
	OpenCheckpoint(id entropy.JobID, sha256 string) (io.ReadCloser, int64, error)
	// CheckpointRoom returns CodeDiskFull if there is no room for so many bytes.
	CheckpointRoom(bytes int64) error
	// PruneCheckpoints removes what the manifests to keep do not need.
	PruneCheckpoints(id entropy.JobID, keep []entropy.CheckpointPart) error
	// CheckpointJobs returns the jobs that have parts stored.
	CheckpointJobs() ([]entropy.JobID, error)
}

// checkpointLocks keep a commit and the removal of what nothing needs any more
// apart: between finding a commit's parts complete and recording it, none of them
// may go. Two jobs rarely share a lock.
type checkpointLocks [64]sync.Mutex

func (l *checkpointLocks) of(id entropy.JobID) *sync.Mutex {
	h := fnv.New32a()
	h.Write([]byte(id))
	return &l[h.Sum32()%uint32(len(l))]
}

// checkpointStore returns the store, if the control plane has one for checkpoints.
func (s *System) checkpointStore() (CheckpointStore, error) {
	if s.cfg.Checkpoints == nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "this control plane stores no checkpoints")
	}
	return s.cfg.Checkpoints, s.writable()
}

// askCheckpoint returns nil while the calling worker may save a checkpoint of so
// many bytes under the assignment.
func (s *System) askCheckpoint(ctx context.Context, id entropy.JobID, a entropy.AssignmentID, size int64) error {
	if err := entropy.ValidateID("job id", string(id)); err != nil {
		return err
	}
	if err := entropy.ValidateID("assignment id", string(a)); err != nil {
		return err
	}
	_, err := s.command(ctx, id, &job.Command{Cmd: entropy.AskCheckpoint{AssignmentID: a, WorkerID: callerName(ctx), Size: size}})
	return err
}

func callerName(ctx context.Context) entropy.WorkerID {
	return entropy.WorkerID(entropy.PrincipalFrom(ctx).Name)
}

// OfferCheckpoint implements entropy.CheckpointService.
func (s *System) OfferCheckpoint(ctx context.Context, o entropy.CheckpointOffer) error {
	store, err := s.checkpointStore()
	if err != nil {
		return err
	}
	if o.Size < 0 || o.Upload < 0 {
		return entropy.Errorf(entropy.CodeInvalid, "a checkpoint of %d bytes, %d of them to be sent", o.Size, o.Upload)
	}
	if o.Refused != "" {
		return s.refuseCheckpoint(ctx, store, &o, o.Refused)
	}
	if err = s.askCheckpoint(ctx, o.JobID, o.AssignmentID, o.Size); err == nil {
		err = store.CheckpointRoom(o.Upload)
	}
	switch entropy.ErrorCode(err) {
	case entropy.CodeTooLarge, entropy.CodeDiskFull:
		if err := s.refuseCheckpoint(ctx, store, &o, err.Error()); err != nil {
			s.cfg.Logger.Warn("a refused checkpoint could not be recorded", "job_id", string(o.JobID), "error", err)
		}
	}
	return err
}

// refuseCheckpoint records why a checkpoint is not saved, and removes what was
// sent for it.
func (s *System) refuseCheckpoint(ctx context.Context, store CheckpointStore, o *entropy.CheckpointOffer, why string) error {
	if err := s.askCheckpoint(ctx, o.JobID, o.AssignmentID, 0); err != nil {
		return err
	}
	lock := s.saving.of(o.JobID)
	lock.Lock()
	defer lock.Unlock()
	out, err := s.command(ctx, o.JobID, &job.Command{Cmd: entropy.RefuseCheckpoint{AssignmentID: o.AssignmentID, WorkerID: callerName(ctx), Message: why}})
	if err != nil {
		return err
	}
	return store.PruneCheckpoints(o.JobID, manifests(out.Job))
}

// PutCheckpointPart implements entropy.CheckpointService.
func (s *System) PutCheckpointPart(ctx context.Context, u entropy.CheckpointUpload, r io.Reader) error {
	store, err := s.checkpointStore()
	if err != nil {
		return err
	}
	if err := s.askCheckpoint(ctx, u.JobID, u.AssignmentID, 0); err != nil {
		return err
	}
	return store.PutCheckpoint(ctx, u.JobID, u.CheckpointPart, r)
}

// CommitCheckpoint implements entropy.CheckpointService. The parts are durable
// before the event that refers to them is; what no checkpoint needs any more goes
// after that.
func (s *System) CommitCheckpoint(ctx context.Context, c entropy.CheckpointCommit) (entropy.CheckpointReply, error) {
	store, err := s.checkpointStore()
	if err != nil {
		return entropy.CheckpointReply{}, err
	}
	if err := s.askCheckpoint(ctx, c.JobID, c.AssignmentID, 0); err != nil {
		return entropy.CheckpointReply{}, err
	}
	lock := s.saving.of(c.JobID)
	lock.Lock()
	defer lock.Unlock()
	m, missing, err := readManifest(store, &c)
	if err != nil || len(missing) > 0 {
		return entropy.CheckpointReply{Missing: missing}, err
	}
	out, err := s.command(ctx, c.JobID, &job.Command{Cmd: entropy.SaveCheckpoint{AssignmentID: c.AssignmentID, WorkerID: callerName(ctx),
		Seq: c.Seq, Manifest: c.Manifest, Size: m.Size(), Files: len(m.Files), Uploaded: max(0, c.Uploaded)}})
	if err != nil {
		return entropy.CheckpointReply{}, err
	}
	if err := store.PruneCheckpoints(c.JobID, manifests(out.Job)); err != nil {
		s.cfg.Logger.Warn("parts of old checkpoints stay until the next one", "job_id", string(c.JobID), "error", err)
	}
	return entropy.CheckpointReply{Repeat: out.Decision.Repeat}, nil
}

// readManifest returns the manifest of a commit, once all that it refers to is
// durable, or what is missing.
func readManifest(store CheckpointStore, c *entropy.CheckpointCommit) (*entropy.CheckpointManifest, []string, error) {
	missing, err := store.MissingCheckpoint(c.JobID, []entropy.CheckpointPart{c.Manifest})
	if err != nil || len(missing) > 0 {
		return nil, missing, err
	}
	r, _, err := store.OpenCheckpoint(c.JobID, c.Manifest.SHA256)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, entropy.MaxCheckpointManifest))
	if err != nil {
		return nil, nil, fmt.Errorf("read checkpoint manifest: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != c.Manifest.SHA256 {
		return nil, nil, entropy.Errorf(entropy.CodeInvalid, "the stored manifest %s is damaged", c.Manifest.SHA256).WithHint("save the checkpoint again")
	}
	m, err := entropy.DecodeCheckpointManifest(b)
	if err != nil {
		return nil, nil, err
	}
	missing, err = store.MissingCheckpoint(c.JobID, append(m.Packs, c.Manifest))
	return m, missing, err
}

func manifests(j *entropy.Job) []entropy.CheckpointPart {
	var parts []entropy.CheckpointPart
	for _, c := range j.Checkpoints {
		parts = append(parts, c.Manifest)
	}
	return parts
}

// OpenCheckpointPart implements entropy.CheckpointService.
func (s *System) OpenCheckpointPart(ctx context.Context, id entropy.JobID, a entropy.AssignmentID, hash string) (io.ReadCloser, error) {
	if s.cfg.Checkpoints == nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "this control plane stores no checkpoints")
	}
	if err := s.mayAccept(ctx, id, a); err != nil {
		return nil, err
	}
	r, _, err := s.cfg.Checkpoints.OpenCheckpoint(id, hash)
	return r, err
}

// dropCheckpoints removes the checkpoints of a job that needs none any more. What
// it leaves is found by SweepCheckpoints.
func (s *System) dropCheckpoints(j *entropy.Job) {
	if s.cfg.Checkpoints == nil || j.Spec.Checkpoint == nil || j.State != entropy.Succeeded {
		return
	}
	lock := s.saving.of(j.ID)
	lock.Lock()
	defer lock.Unlock()
	if err := s.cfg.Checkpoints.PruneCheckpoints(j.ID, nil); err != nil {
		s.cfg.Logger.Warn("the checkpoints of a job stay until the next sweep", "job_id", string(j.ID), "error", err)
	}
}

// SweepCheckpoints removes the checkpoints of jobs that succeeded, that are not
// known any more, or that ended before the given time. It returns how many jobs
// had any.
func (s *System) SweepCheckpoints(ctx context.Context, endedBefore time.Time) (removed int, err error) {
	if s.cfg.Checkpoints == nil {
		return 0, nil
	}
	ids, err := s.cfg.Checkpoints.CheckpointJobs()
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		ok, err := s.sweepCheckpoints(ctx, id, endedBefore)
		if err != nil {
			return removed, err
		}
		if ok {
			removed++
		}
	}
	return removed, nil
}

func (s *System) sweepCheckpoints(ctx context.Context, id entropy.JobID, endedBefore time.Time) (bool, error) {
	lock := s.saving.of(id)
	lock.Lock()
	defer lock.Unlock()
	j, err := s.cfg.Journal.Job(ctx, id)
	switch {
	case entropy.ErrorCode(err) == entropy.CodeNotFound:
	case err != nil:
		return false, err
	case !j.State.Terminal(), len(j.Checkpoints) > 0 && j.FinishedAt.After(endedBefore):
		return false, nil
	}
	return true, s.cfg.Checkpoints.PruneCheckpoints(id, nil)
}

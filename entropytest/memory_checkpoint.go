package entropytest

import (
	"bytes"
	"context"
	"io"

	"github.com/entropy-fabric/entropy"
)

// checkpointer runs f with the job and the calling worker under the lock.
func (m *Memory) checkpointer(ctx context.Context, id entropy.JobID, f func(*entropy.Job, entropy.WorkerID) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil {
		return notFound("job", string(id))
	}
	return f(j, entropy.WorkerID(entropy.PrincipalFrom(ctx).Name))
}

// partKey is where a part of a job's checkpoints is kept among the blobs.
func partKey(id entropy.JobID, hash string) string { return "checkpoint/" + string(id) + "/" + hash }

// OfferCheckpoint implements [entropy.CheckpointService]. There is always room.
func (m *Memory) OfferCheckpoint(ctx context.Context, o entropy.CheckpointOffer) error {
	return m.checkpointer(ctx, o.JobID, func(j *entropy.Job, w entropy.WorkerID) error {
		why := o.Refused
		err := j.MayCheckpoint(o.AssignmentID, w, o.Size)
		if entropy.ErrorCode(err) == entropy.CodeTooLarge {
			why = err.Error()
		} else if err != nil {
			return err
		}
		if why != "" {
			if _, refused := m.decide(j, entropy.RefuseCheckpoint{AssignmentID: o.AssignmentID, WorkerID: w, Message: why}); refused != nil {
				return refused
			}
		}
		return err
	})
}

// PutCheckpointPart implements [entropy.CheckpointService].
func (m *Memory) PutCheckpointPart(ctx context.Context, u entropy.CheckpointUpload, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return m.checkpointer(ctx, u.JobID, func(j *entropy.Job, w entropy.WorkerID) error {
		if err := j.MayCheckpoint(u.AssignmentID, w, 0); err != nil {
			return err
		}
		if hash(content) != u.SHA256 || int64(len(content)) != u.Size {
			return entropy.Errorf(entropy.CodeInvalid, "the content is not that of %s", u.SHA256).WithHint("upload it again")
		}
		m.blobs[partKey(u.JobID, u.SHA256)] = content
		return nil
	})
}

// CommitCheckpoint implements [entropy.CheckpointService].
func (m *Memory) CommitCheckpoint(ctx context.Context, c entropy.CheckpointCommit) (reply entropy.CheckpointReply, err error) {
	err = m.checkpointer(ctx, c.JobID, func(j *entropy.Job, w entropy.WorkerID) error {
		if err := j.MayCheckpoint(c.AssignmentID, w, 0); err != nil {
			return err
		}
		manifest, ok := m.blobs[partKey(c.JobID, c.Manifest.SHA256)]
		if !ok {
			reply.Missing = []string{c.Manifest.SHA256}
			return nil
		}
		content, err := entropy.DecodeCheckpointManifest(manifest)
		if err != nil {
			return err
		}
		for _, p := range content.Packs {
			if int64(len(m.blobs[partKey(c.JobID, p.SHA256)])) != p.Size {
				reply.Missing = append(reply.Missing, p.SHA256)
			}
		}
		if len(reply.Missing) > 0 {
			return nil
		}
		d, err := m.decide(j, entropy.SaveCheckpoint{AssignmentID: c.AssignmentID, WorkerID: w, Seq: c.Seq, Manifest: c.Manifest,
			Size: content.Size(), Files: len(content.Files), Uploaded: max(0, c.Uploaded)})
		reply.Repeat = d.Repeat
		return err
	})
	return reply, err
}

// OpenCheckpointPart implements [entropy.CheckpointService].
func (m *Memory) OpenCheckpointPart(ctx context.Context, id entropy.JobID, a entropy.AssignmentID, hash string) (r io.ReadCloser, err error) {
	err = m.checkpointer(ctx, id, func(j *entropy.Job, w entropy.WorkerID) error {
		if err := j.MayAccept(a, w); err != nil {
			return err
		}
		content, ok := m.blobs[partKey(id, hash)]
		if !ok {
			return notFound("part", hash)
		}
		r = io.NopCloser(bytes.NewReader(content))
		return nil
	})
	return r, err
}

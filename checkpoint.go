package entropy

import (
	"context"
	"io"
	"time"
)

// CheckpointPolicy lets a job save its state while it runs, and gives that state
// to its next attempt. The job finds a directory in ENTROPY_CHECKPOINT_DIR. What
// it renames into ready/ there, a file or a directory, is saved as it is; what
// the last attempt saved is in restored/ when the process starts.
type CheckpointPolicy struct {
	Keep    int   `json:"keep,omitempty"`     // how many are kept, the newest; 0 means DefaultCheckpointsKept
	MaxSize int64 `json:"max_size,omitempty"` // of one checkpoint, in bytes; 0 means DefaultCheckpointSize
}

// Limits on checkpoints. Sizes are in bytes.
const (
	// DefaultCheckpointsKept leaves one to fall back on when the newest is damaged.
	DefaultCheckpointsKept = 2
	// MaxCheckpointsKept bounds CheckpointPolicy.Keep.
	MaxCheckpointsKept = 16
	// DefaultCheckpointSize is CheckpointPolicy.MaxSize when that is 0.
	DefaultCheckpointSize = 16 << 30
	// MaxCheckpointSize bounds CheckpointPolicy.MaxSize.
	MaxCheckpointSize = 512 << 30
	// MaxCheckpointFiles bounds the files and directories of one checkpoint.
	MaxCheckpointFiles = 100_000
	// MaxCheckpointPack bounds one pack of chunks: what is lost with a connection.
	MaxCheckpointPack = 4 << 20
	// MaxCheckpointManifest bounds an encoded manifest.
	MaxCheckpointManifest = 64 << 20
)

// KeepOrDefault returns how many checkpoints are kept. A nil policy keeps none.
func (p *CheckpointPolicy) KeepOrDefault() int {
	if p == nil {
		return 0
	}
	return orDefaultInt(p.Keep, DefaultCheckpointsKept)
}

// MaxSizeOrDefault returns how large a checkpoint may be, in bytes. A nil policy
// allows none.
func (p *CheckpointPolicy) MaxSizeOrDefault() int64 {
	switch {
	case p == nil:
		return 0
	case p.MaxSize == 0:
		return DefaultCheckpointSize
	}
	return p.MaxSize
}

// validateCheckpoint checks the policy, which may be absent.
func (s *JobSpec) validateCheckpoint(bad report) {
	p := s.Checkpoint
	if p == nil {
		return
	}
	if s.Handler != "" {
		bad("checkpoint is for commands; a handler keeps its state by itself")
	}
	if p.Keep < 0 || p.Keep > MaxCheckpointsKept {
		bad("checkpoint.keep is %d; it must lie between 0 and %d", p.Keep, MaxCheckpointsKept)
	}
	if p.MaxSize < 0 || p.MaxSize > MaxCheckpointSize {
		bad("checkpoint.max_size is %d; it must lie between 0 and %d bytes", p.MaxSize, int64(MaxCheckpointSize))
	}
}

// Checkpoint is a saved state of a job. Its content is named by its manifest; see
// [CheckpointManifest].
type Checkpoint struct {
	AssignmentID AssignmentID   `json:"assignment_id"` // that saved it
	Attempt      int            `json:"attempt"`
	Seq          uint64         `json:"seq"` // rises within an attempt, from 1
	Manifest     CheckpointPart `json:"manifest"`
	Size         int64          `json:"size"`     // of all its files, in bytes
	Files        int            `json:"files"`    // how many
	Uploaded     int64          `json:"uploaded"` // bytes that were sent for it: the rest was there already
	At           time.Time      `json:"at"`       // when it was committed
}

// CheckpointPart is one object of a job's checkpoints by its content: a pack of
// chunks, or a manifest.
type CheckpointPart struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// CheckpointUpload places one part.
type CheckpointUpload struct {
	JobID        JobID
	AssignmentID AssignmentID
	CheckpointPart
}

// CheckpointOffer announces a checkpoint before anything of it is sent, or says
// why the worker will not save one.
type CheckpointOffer struct {
	JobID        JobID        `json:"job_id"`
	AssignmentID AssignmentID `json:"assignment_id"`
	Size         int64        `json:"size"`              // of all files, in bytes
	Upload       int64        `json:"upload"`            // bytes that are going to be sent
	Refused      string       `json:"refused,omitempty"` // why it is not saved; then the rest does not count
}

// CheckpointCommit asks that a checkpoint whose parts were sent become the job's
// newest.
type CheckpointCommit struct {
	JobID        JobID          `json:"job_id"`
	AssignmentID AssignmentID   `json:"assignment_id"`
	Seq          uint64         `json:"seq"` // one more than that of the last, from 1
	Manifest     CheckpointPart `json:"manifest"`
	Uploaded     int64          `json:"uploaded"` // bytes that were sent for it, informational
}

// CheckpointReply answers a [CheckpointCommit].
type CheckpointReply struct {
	Missing []string `json:"missing,omitempty"` // parts that are not stored: send them and commit again; nothing was recorded
	Repeat  bool     `json:"repeat,omitempty"`  // this checkpoint, or a newer one of the assignment, was recorded before
}

// CheckpointService is the part of [WorkerService] about checkpoints. Each call
// names the assignment, which must be the job's live one: else CodeSuperseded, or
// CodeUnavailable while its lease may still be given back.
type CheckpointService interface {
	// OfferCheckpoint asks whether a checkpoint would be taken, before anything is
	// sent. CodeTooLarge, CodeDiskFull; both are recorded with the job. With
	// Refused it records why the worker will not save one, and forgets the parts
	// that were sent for it.
	OfferCheckpoint(ctx context.Context, o CheckpointOffer) error
	// PutCheckpointPart stores one part of a job's checkpoints. It may be lost until
	// a commit that needs it was answered. One that is there already is not read.
	// CodeInvalid when the content has another hash or size, CodeDiskFull.
	PutCheckpointPart(ctx context.Context, u CheckpointUpload, r io.Reader) error
	// CommitCheckpoint makes a checkpoint the job's newest, or names the parts that
	// are missing. Repeating it is harmless. CodeConflict when its seq was used for
	// another one, CodeInvalid, CodeTooLarge.
	CommitCheckpoint(ctx context.Context, c CheckpointCommit) (CheckpointReply, error)
	// OpenCheckpointPart returns the content of a part, which the caller closes. The
	// assignment need not be ACKed yet. CodeNotFound.
	OpenCheckpointPart(ctx context.Context, job JobID, a AssignmentID, sha256 string) (io.ReadCloser, error)
}

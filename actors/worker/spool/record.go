package spool

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Start says that an assignment began.
type Start struct {
	JobID        entropy.JobID        `json:"job_id"`
	AssignmentID entropy.AssignmentID `json:"assignment_id"`
	Attempt      int                  `json:"attempt"`
	BootID       string               `json:"boot_id"`
	Cgroup       string               `json:"cgroup,omitempty"` // directory of its control group, if it has one
	GPUs         []entropy.GPUShare   `json:"gpus,omitempty"`   // that it owns while it runs
	At           time.Time            `json:"at"`
}

// Process is the leader of an assignment's processes, for whoever must find
// them after their supervisor is gone.
type Process struct {
	AssignmentID entropy.AssignmentID `json:"assignment_id"`
	PID          int                  `json:"pid"`
	StartTicks   uint64               `json:"start_ticks"` // since boot; tells a reused pid apart
}

// File is where the content of an artifact lies on this machine.
type File struct {
	Root string `json:"root"` // directory that the name must not leave
	Name string `json:"name"` // slash-separated, below Root
}

// Exit is how an assignment ended, and where the files that go with it are.
type Exit struct {
	Completion entropy.Completion `json:"completion"`
	Files      []File             `json:"files,omitempty"`  // of Completion.Artifacts, in order
	Stdout     int64              `json:"stdout,omitempty"` // size of the log file
	Stderr     int64              `json:"stderr,omitempty"`
	Checkpoint bool               `json:"checkpoint,omitempty"` // it may have left a checkpoint that is not saved yet
}

// ID returns the assignment.
func (e *Exit) ID() entropy.AssignmentID { return e.Completion.AssignmentID }

// Decision is the fabric's last word on an exit.
type Decision struct {
	AssignmentID entropy.AssignmentID `json:"assignment_id"`
	Verdict      entropy.Verdict      `json:"verdict"`
}

// header is the first record of a file.
type header struct {
	Format  int    `json:"format"`
	ID      string `json:"id"`
	NextSeq uint64 `json:"next_seq"` // no completion number below it may be given out
}

// record is one of its fields.
type record struct {
	Header  *header   `json:"header,omitempty"`
	Start   *Start    `json:"start,omitempty"`
	Process *Process  `json:"process,omitempty"`
	Exit    *Exit     `json:"exit,omitempty"`
	Decided *Decision `json:"decided,omitempty"`
}

const (
	format     = 1
	frameSize  = 8
	maxRecord  = 64 << 20 // a completion with every artifact it may have is far smaller
	headerLine = "entropy spool\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the frame of r to b.
func appendRecord(b []byte, r *record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return b, fmt.Errorf("encode spool record: %w", err)
	}
	if len(body) > maxRecord {
		return b, fmt.Errorf("spool record has %d bytes, at most %d are allowed", len(body), maxRecord)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...), nil
}

// readRecord decodes the first record of b and returns its size in b. An error
// means that b does not begin with a whole record.
func readRecord(b []byte) (record, int, error) {
	if len(b) < frameSize {
		return record{}, 0, fmt.Errorf("only %d bytes of a frame", len(b))
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n == 0 || n > maxRecord || n > len(b)-frameSize {
		return record{}, 0, fmt.Errorf("a record of %d bytes in %d", n, len(b)-frameSize)
	}
	body := b[frameSize : frameSize+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return record{}, 0, fmt.Errorf("a record whose checksum does not match")
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return record{}, 0, fmt.Errorf("a record that is not JSON: %w", err)
	}
	return r, frameSize + n, nil
}

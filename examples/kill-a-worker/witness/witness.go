// Package witness is what the demonstration saw with its own eyes: which jobs it
// submitted, and what the killed worker held at the moment it died. The program
// prove holds the journal to it.
package witness

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/entropy-fabric/entropy"
)

// Witness is the record of one demonstration.
type Witness struct {
	Jobs    []entropy.JobID `json:"jobs"`    // every job that was submitted and acknowledged
	Victim  string          `json:"victim"`  // the worker that was killed
	Spooled []Seen          `json:"spooled"` // finished on the victim, not yet accepted when it died
	Running []Seen          `json:"running"` // running on the victim when it died
	Waiting []Seen          `json:"waiting"` // finished on the others while the control plane was dead
	Table   Table           `json:"table"`   // what the demonstration claims
}

// Seen is an assignment of a job.
type Seen struct {
	JobID        entropy.JobID        `json:"job_id"`
	AssignmentID entropy.AssignmentID `json:"assignment_id"`
}

// Table is the claim, in numbers.
type Table struct {
	Succeeded int `json:"succeeded"` // jobs, each exactly once
	Lost      int `json:"lost"`      // attempts that were lost
	Retried   int `json:"retried"`   // jobs that were assigned again after a loss
	Replayed  int `json:"replayed"`  // results that outlived their worker or their control plane, and counted
	Artifacts int `json:"artifacts"` // files, each checked by SHA-256
}

// Write stores w in a file.
func (w *Witness) Write(file string) error {
	b, err := json.MarshalIndent(w, "", " ")
	if err != nil {
		return fmt.Errorf("write witness: %w", err)
	}
	return os.WriteFile(file, append(b, '\n'), 0o600)
}

// Read reads what Write stored.
func Read(file string) (*Witness, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	w := new(Witness)
	if err := json.Unmarshal(b, w); err != nil {
		return nil, fmt.Errorf("read witness %s: %w", file, err)
	}
	return w, nil
}

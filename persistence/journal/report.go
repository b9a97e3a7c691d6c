package journal

import (
	"fmt"
	"strings"

	"github.com/entropy-fabric/entropy"
)

// Report is what [VerifyFile] and [Reader.Verify] found. It is written as JSON by
// its tags.
type Report struct {
	Path      string `json:"path"`
	ClusterID string `json:"cluster_id"`
	Epoch     uint64 `json:"epoch"`
	Seq       uint64 `json:"seq"` // newest event that was looked at

	Events    uint64                   `json:"events"`
	Batches   uint64                   `json:"batches"` // each sealed
	Jobs      uint64                   `json:"jobs"`
	Workers   uint64                   `json:"workers"`
	Tokens    uint64                   `json:"tokens"`
	Documents uint64                   `json:"documents"` // policies and the like
	States    map[entropy.State]uint64 `json:"states"`    // jobs by state, by replay

	// Problems are the first MaxProblems found, ProblemCount is how many there are.
	Problems     []Problem `json:"problems,omitempty"`
	ProblemCount uint64    `json:"problem_count"`

	// Findings are what the events say of each job, of the first MaxFindings jobs
	// in order of acceptance.
	Findings []JobFinding `json:"findings,omitempty"`
}

// The bounds of a [Report].
const (
	MaxProblems = 1_000
	MaxFindings = 10_000
)

// Problem is one thing that is not as it must be.
type Problem struct {
	Seq    uint64 `json:"seq,omitempty"`    // of the event it was found at, if at one
	Entity string `json:"entity,omitempty"` // whose it is, if anybody's
	What   string `json:"what"`
}

// String returns the problem as one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Seq > 0 {
		fmt.Fprintf(&b, "seq %d: ", p.Seq)
	}
	if p.Entity != "" {
		b.WriteString(p.Entity + ": ")
	}
	return b.String() + p.What
}

// JobFinding is a job's life in numbers, counted from its events.
type JobFinding struct {
	ID         entropy.JobID `json:"id"`
	State      entropy.State `json:"state"`
	Assigned   int           `json:"assigned"`             // attempts
	Started    int           `json:"started"`              // of which were ACKed
	Lost       int           `json:"lost,omitempty"`       // attempts lost
	Failed     int           `json:"failed,omitempty"`     // attempts failed
	Released   int           `json:"released,omitempty"`   // attempts given back
	Reattached int           `json:"reattached,omitempty"` // attempts taken up again
	Late       int           `json:"late,omitempty"`       // completions accepted after their lease had ended
	Evidence   int           `json:"evidence,omitempty"`   // completions recorded and not applied
	Succeeded  int           `json:"succeeded"`            // accepted successes: more than 1 is a broken promise
	Terminal   int           `json:"terminal"`             // ends: more than 1 is a broken promise
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return r.ProblemCount == 0 }

// String returns the report for people, in a few lines.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "journal %s\ncluster %s, epoch %d\n", r.Path, r.ClusterID, r.Epoch)
	fmt.Fprintf(&b, "%d events in %d sealed batches; %d jobs, %d workers, %d tokens\n", r.Events, r.Batches, r.Jobs, r.Workers, r.Tokens)
	for _, s := range entropy.States {
		if n := r.States[s]; n > 0 {
			fmt.Fprintf(&b, "  %-10s %d\n", s, n)
		}
	}
	if r.OK() {
		b.WriteString("every checksum, seal and position is right, and a replay gives the stored state byte for byte\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%d problems\n", r.ProblemCount)
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "  %s\n", p)
	}
	if n := r.ProblemCount - uint64(len(r.Problems)); n > 0 {
		fmt.Fprintf(&b, "  and %d more\n", n)
	}
	return b.String()
}

func (r *Report) problem(seq uint64, entity, format string, args ...any) {
	r.ProblemCount++
	if len(r.Problems) < MaxProblems {
		r.Problems = append(r.Problems, Problem{Seq: seq, Entity: entity, What: fmt.Sprintf(format, args...)})
	}
}

// count notes one event of the job.
func (f *JobFinding) count(typ string, late bool) {
	switch typ {
	case entropy.JobAssigned:
		f.Assigned++
	case entropy.JobStarted:
		f.Started++
	case entropy.JobLost:
		f.Lost++
	case entropy.JobAttemptFailed, entropy.JobLateFailure:
		f.Failed++
	case entropy.JobReleased:
		f.Released++
	case entropy.JobReattached:
		f.Reattached++
	case entropy.JobEvidence:
		f.Evidence++
	case entropy.JobSucceeded:
		f.Succeeded++
		f.Terminal++
	case entropy.JobFailed, entropy.JobCanceled:
		f.Terminal++
	}
	if late {
		f.Late++
	}
}

package explore

import (
	"encoding/binary"
	"strconv"

	"github.com/entropy-fabric/entropy"
)

const (
	workers        = 2
	maxAssignments = 4 // of one job; Config.Assignments says how many there are
)

// state is one state of the world. The jobs are never changed once they are in one.
type state struct {
	job  *entropy.Job
	up   *entropy.Job // the job that it waits for, or nil
	n    int          // assignments made
	a    [maxAssignments]assignment
	inc  [workers]uint8 // incarnation of the newest agent, registered or on its way
	reg  [workers]uint8 // incarnation that the control plane knows
	boot [workers]bool  // that registration is of a new boot
	held bool           // somebody has held the job before: once is enough

	shadow shadow
}

// assignment is what the world outside of the machine knows of one.
type assignment struct {
	worker    uint8
	inc       uint8 // of the agent that it was granted to
	started   bool
	executing bool
	outcome   Outcome // once it has ended
	spooled   bool    // the result is in the worker's spool
	unheld    bool    // the newest registration of its worker does not name it
	verdict   entropy.Verdict
}

// Outcome is how an execution ended.
type Outcome uint8

// The outcomes.
const (
	nothing   Outcome = iota // it has not
	Succeeded                // exit code 0
	Failed                   // another exit code
	Stopped                  // by its worker, because it was told to or by its contract
	Broke                    // under a worker that broke
)

// String returns the outcome in one word.
func (o Outcome) String() string {
	return [...]string{"nothing", "succeeded", "failed", "stopped", "broke"}[o]
}

func (s *state) clone() *state {
	c := *s
	return &c
}

// live returns the assignment that holds the lease, or -1.
func (s *state) live() int {
	if s.job.Lease == nil {
		return -1
	}
	return number(s.job.Lease.AssignmentID)
}

// number returns the index of an assignment, which is in its ID.
func number(id entropy.AssignmentID) int {
	n, err := strconv.Atoi(string(id[1:]))
	if err != nil {
		panic("explore: foreign assignment " + id)
	}
	return n
}

func name(i int) entropy.AssignmentID { return entropy.AssignmentID("a" + strconv.Itoa(i)) }

func workerName(w uint8) entropy.WorkerID { return [...]entropy.WorkerID{"w0", "w1"}[w] }

// key returns a text that two states share exactly when they differ only in times
// and in which worker is which.
func (s *state) key() string {
	a, b := s.encode(false), s.encode(true)
	if a > b {
		return b
	}
	return a
}

// encode writes a state with its workers as they are, or exchanged.
func (s *state) encode(swap bool) string {
	e := encoder{swap: swap, b: make([]byte, 0, 160)}
	e.job(s.job)
	if s.up != nil {
		e.job(s.up)
	}
	for i := range s.n {
		a := &s.a[i]
		e.put(e.side(a.worker), a.inc, flags(a.started, a.executing, a.spooled, a.unheld), uint8(a.outcome))
		e.text(string(a.verdict))
	}
	for w := range uint8(workers) {
		v := e.side(w)
		e.put(s.inc[v], s.reg[v], flags(s.boot[v]))
	}
	e.put(flags(s.held))
	e.put(s.shadow.bytes()...)
	return string(e.b)
}

type encoder struct {
	b    []byte
	swap bool
}

func (e *encoder) side(w uint8) uint8 {
	if e.swap {
		return workers - 1 - w
	}
	return w
}

func (e *encoder) put(v ...uint8) { e.b = append(e.b, v...) }

func (e *encoder) text(s string) {
	e.b = binary.AppendUvarint(e.b, uint64(len(s)))
	e.b = append(e.b, s...)
}

// worker writes which worker it is; names are w0 and w1.
func (e *encoder) worker(id entropy.WorkerID) { e.put(e.side(id[1] - '0')) }

func (e *encoder) workers(ids []entropy.WorkerID) {
	var set uint8
	for _, id := range ids {
		set |= 1 << e.side(id[1]-'0')
	}
	e.put(set)
}

// job writes everything of a job that a later decision can depend on, times apart.
func (e *encoder) job(j *entropy.Job) {
	e.text(string(j.State))
	e.text(string(j.Reason))
	e.text(string(j.LastAcked))
	e.put(flags(j.Blocked, j.Held, j.CancelRequested, j.PreemptRequested, j.RetryAt != nil, j.Lease != nil),
		uint8(j.Attempt), uint8(j.Failures), uint8(j.Losses))
	e.workers(j.LossOn)
	e.workers(j.Excluded)
	if l := j.Lease; l != nil {
		e.text(string(l.AssignmentID))
		e.put(uint8(l.Incarnation), flags(l.Acked))
		e.worker(l.WorkerID)
	}
	for i := range j.Attempts {
		t := &j.Attempts[i]
		e.worker(t.WorkerID)
		e.text(string(t.End) + "/" + t.Counted + "/" + string(t.Answer))
		e.put(flags(t.Late, t.StartedAt != nil))
	}
}

func flags(bits ...bool) (f uint8) {
	for i, b := range bits {
		if b {
			f |= 1 << i
		}
	}
	return f
}

package explore

import (
	"slices"

	"github.com/entropy-fabric/entropy"
)

// Mutant takes one protection away, to show that the explorer misses it.
type Mutant string

// The mutants. The zero Mutant takes nothing away.
const (
	NoFencing           Mutant = "no-fencing"            // a completion counts for whatever assignment is live
	DuplicateCompletion Mutant = "duplicate-completion"  // a repeated completion is decided again
	DoubleAssign        Mutant = "double-assign"         // a leased job is assigned
	ForgottenEndsStop   Mutant = "forgotten-ends-stop"   // a late registration ends the lease of a stop job that runs
	GossipEndsStop      Mutant = "gossip-ends-stop"      // a rumor ends the lease of a stop job that runs
	NoRetryIgnored      Mutant = "no-retry-ignored"      // a no-retry job is tried again
	DependencyOnFailure Mutant = "dependency-on-failure" // a failed job releases those that wait for its success
	IdentityFromBody    Mutant = "identity-from-body"    // whose assignment it is decides who is taken to have sent it
)

// Mutants lists every mutant.
var Mutants = []Mutant{NoFencing, DuplicateCompletion, DoubleAssign, ForgottenEndsStop, GossipEndsStop, NoRetryIgnored, DependencyOnFailure, IdentityFromBody}

// mutate returns the job and the command as a machine without the protection that
// the mutant takes away would see them.
func (m Mutant) mutate(j *entropy.Job, cmd entropy.JobCommand) (*entropy.Job, entropy.JobCommand) {
	if m == "" {
		return j, cmd
	}
	switch c := cmd.(type) {
	case entropy.Complete:
		if l := j.Lease; m == NoFencing && l != nil && l.Acked {
			c.AssignmentID, c.WorkerID = l.AssignmentID, l.WorkerID
			return j, c
		}
		if t := attempt(j, c.AssignmentID); m == DuplicateCompletion && t != nil && t.Answer == entropy.VerdictAccepted {
			n := j.Clone()
			n.State, n.Lease, n.LastAcked = entropy.Lost, nil, c.AssignmentID
			again := attempt(n, c.AssignmentID)
			again.End, again.Answer = entropy.EndLost, ""
			return n, c
		}
	case entropy.Assign:
		if m == DoubleAssign && j.State == entropy.Assigned {
			n := j.Clone()
			n.State, n.Lease = entropy.Pending, nil
			return n, c
		}
	case entropy.EndLease:
		n := j.Clone()
		switch {
		case m == ForgottenEndsStop && c.Cause == entropy.CauseForgotten, m == GossipEndsStop && c.Cause == entropy.CauseWorkerLost:
			n.Spec.Disconnect.Worker, c.Before = entropy.DisconnectContinue, 0
			return n, c
		case m == NoRetryIgnored:
			n.Spec.Retry.NoRetry = false
			return n, c
		}
	}
	return j, cmd
}

// unmutate returns the job that the decided events are applied to: the mutant's
// own where its events would otherwise be refused, with its true spec.
func (m Mutant) unmutate(j, mutated *entropy.Job) *entropy.Job {
	if mutated.State == j.State {
		return j
	}
	return mutated
}

// identify returns a command with the name that the mutant takes its sender for.
func (m Mutant) identify(j *entropy.Job, cmd entropy.JobCommand) entropy.JobCommand {
	if m != IdentityFromBody {
		return cmd
	}
	owner := func(id entropy.AssignmentID) entropy.WorkerID { return attempt(j, id).WorkerID }
	switch c := cmd.(type) {
	case entropy.Ack:
		c.WorkerID = owner(c.AssignmentID)
		return c
	case entropy.Release:
		c.WorkerID = owner(c.AssignmentID)
		return c
	case entropy.Complete:
		c.WorkerID = owner(c.AssignmentID)
		return c
	case entropy.Reattach:
		c.WorkerID = owner(c.AssignmentID)
		return c
	}
	return cmd
}

func attempt(j *entropy.Job, id entropy.AssignmentID) *entropy.Attempt {
	i := slices.IndexFunc(j.Attempts, func(t entropy.Attempt) bool { return t.AssignmentID == id })
	if i < 0 {
		return nil
	}
	return &j.Attempts[i]
}

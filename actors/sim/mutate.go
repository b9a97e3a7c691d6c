package sim

import (
	"slices"

	"github.com/entropy-fabric/entropy"
)

// mutate returns the job and the command as a control plane without the
// protection that the mutant takes away would see them.
func (w *world) mutate(j *entropy.Job, cmd entropy.JobCommand) (*entropy.Job, entropy.JobCommand) {
	if w.cfg.Mutant == "" {
		return j, cmd
	}
	switch m := cmd.(type) {
	case entropy.Complete:
		return w.mutateComplete(j, m)
	case entropy.Submit:
		if w.mutant(OtherBody) && j.State != "" {
			m.SpecHash = j.SpecHash
		}
		return j, m
	case entropy.Assign:
		if w.mutant(DoubleAssign) && j.State == entropy.Assigned {
			c := j.Clone()
			c.State, c.Lease = entropy.Pending, nil
			return c, m
		}
		if w.mutant(HeldAssigned) && j.Held {
			c := j.Clone()
			c.Held = false
			return c, m
		}
	case entropy.EndLease:
		if w.mutant(RegisterTwice) && m.Cause == entropy.CauseForgotten || w.mutant(GossipFreesKey) && m.Cause == entropy.CauseWorkerLost {
			c := j.Clone()
			c.Spec.Disconnect.Worker = entropy.DisconnectContinue
			return c, m
		}
		if w.mutant(NoRetryIgnored) && j.Spec.Retry.NoRetry {
			c := j.Clone()
			c.Spec.Retry.NoRetry = false
			return c, m
		}
	}
	return j, cmd
}

func (w *world) mutateComplete(j *entropy.Job, m entropy.Complete) (*entropy.Job, entropy.JobCommand) {
	t := attemptOf(j, m.AssignmentID)
	switch w.cfg.Mutant {
	case NoFencing:
		if l := j.Lease; l != nil && l.Acked && l.AssignmentID != m.AssignmentID {
			m.AssignmentID, m.WorkerID = l.AssignmentID, l.WorkerID
		}
	case LateAfterAck:
		if t != nil && t.End == entropy.EndLost && t.Answer == "" && j.Lease != nil && j.Lease.Acked {
			return asLost(j, m.AssignmentID), m
		}
	case DuplicateCompletion:
		if t != nil && t.Answer == entropy.VerdictAccepted {
			return asLost(j, m.AssignmentID), m
		}
	case BudgetOffByOne:
		return moreFailures(j), m
	}
	return j, m
}

// unmutate returns the job that the decided events are applied to: the mutant's
// own where its events would otherwise be refused, with its true spec.
func (w *world) unmutate(j, mutated *entropy.Job, d *entropy.Decision) *entropy.Job {
	if first := &d.Events[0]; w.mutant(PreemptionCounted) && first.Type == entropy.JobPreempted {
		first.Attrs.Counted = entropy.CountLoss
	}
	if mutated == j || mutated.State == j.State {
		return j
	}
	return mutated
}

func attemptOf(j *entropy.Job, id entropy.AssignmentID) *entropy.Attempt {
	i := slices.IndexFunc(j.Attempts, func(t entropy.Attempt) bool { return t.AssignmentID == id })
	if i < 0 {
		return nil
	}
	return &j.Attempts[i]
}

// asLost returns j as if the assignment had been lost a moment ago and nothing
// had come after it.
func asLost(j *entropy.Job, id entropy.AssignmentID) *entropy.Job {
	c := j.Clone()
	c.State, c.Lease, c.LastAcked = entropy.Lost, nil, id
	t := attemptOf(c, id)
	t.End, t.Answer = entropy.EndLost, ""
	return c
}

func moreFailures(j *entropy.Job) *entropy.Job {
	c := j.Clone()
	if c.Spec.Retry.MaxAttempts == 0 {
		c.Spec.Retry.MaxAttempts = entropy.DefaultMaxAttempts
	}
	c.Spec.Retry.MaxAttempts++
	return c
}

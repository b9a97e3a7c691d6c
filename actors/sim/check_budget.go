package sim

import (
	"github.com/entropy-fabric/entropy"
)

// budgets counts anew what each attempt spent, and checks the limits.
func (k *checker) budgets(j *jobModel, d *entropy.JobEvent) {
	j.failures, j.losses = 0, 0
	for _, a := range j.assignments {
		switch a.counted {
		case entropy.CountFailure:
			j.failures++
		case entropy.CountLoss:
			j.losses++
		}
	}
	if j.fold.Failures != j.failures || j.fold.Losses != j.losses {
		k.w.fail(Budgets, "%s has spent %d failures and %d losses, its record says %d and %d", j.id, j.failures, j.losses, j.fold.Failures, j.fold.Losses)
	}
	failures, losses := limits(&j.spec.Retry)
	again := d.Type == entropy.JobAttemptFailed || d.Type == entropy.JobLateFailure
	if j.failures > failures || again && j.failures == failures {
		k.w.fail(Budgets, "%s: %s with %d failures of %d", j.id, d.Type, j.failures, failures)
	}
	// One more on another worker tells whether the job or the first worker is to blame.
	if j.losses > losses+1 || d.Type == entropy.JobRetrying && j.losses > losses {
		k.w.fail(Budgets, "%s: %s with %d losses of %d", j.id, d.Type, j.losses, losses)
	}
	switch {
	case d.Type == entropy.JobRetrying && j.losses == losses:
		k.w.tally[PoisonGuard]++
	case d.Type == entropy.JobFailed && j.losses >= losses:
		k.w.tally[LossesSpent]++
	case d.Type == entropy.JobFailed && j.failures == failures:
		k.w.tally[FailuresSpent]++
	}
}

func limits(p *entropy.RetryPolicy) (failures, losses int) {
	failures, losses = p.MaxAttempts, p.MaxLosses
	if failures == 0 {
		failures = entropy.DefaultMaxAttempts
	}
	if losses == 0 {
		losses = entropy.DefaultMaxLosses
	}
	if p.NoRetry {
		failures = 1
	}
	return failures, losses
}

// retries checks that no more jobs are tried again at once than the limit allows
// (J-7).
func (k *checker) retries(j *jobModel, before entropy.State) {
	limit := k.w.shape.maxRetrying
	if before != entropy.Retrying || j.fold.State != entropy.Pending || limit == 0 {
		return
	}
	n := 0
	for _, o := range k.order {
		if o.fold.Retried() {
			n++
		}
	}
	if n > limit {
		k.w.fail(NoRetryAbsolute, "%s is the retry number %d at once, %d are allowed", j.id, n, limit)
	}
	if n == limit {
		k.w.tally[RetriesFull]++
	}
}

package explore

import "github.com/entropy-fabric/entropy"

// spec is a job with small budgets, so that they are spent within two assignments.
func spec(edit func(s *entropy.JobSpec)) entropy.JobSpec {
	s := entropy.JobSpec{Command: []string{"work"}, Retry: entropy.RetryPolicy{MaxAttempts: 2, MaxLosses: 1}}
	edit(&s)
	return s
}

func plain(*entropy.JobSpec)  {}
func stop(s *entropy.JobSpec) { s.Disconnect.Worker = entropy.DisconnectStop }
func noRetry(s *entropy.JobSpec) {
	s.Retry = entropy.RetryPolicy{MaxAttempts: 1, MaxLosses: 1, NoRetry: true}
}
func discard(s *entropy.JobSpec)     { s.Disconnect.LateResult = entropy.LateDiscard }
func preemptible(s *entropy.JobSpec) { s.Preemptible = true }
func waiting(s *entropy.JobSpec)     { s.After = []entropy.Dependency{{Job: "up"}} }

// Scenarios returns jobs of every contract that are worth exploring. With two
// assignments each is explored to its end.
func Scenarios() []Config {
	return []Config{
		{Name: "two failures or one loss", Spec: spec(plain)},
		{Name: "stop contract", Spec: spec(stop), Outcomes: []Outcome{Succeeded, Stopped}},
		{Name: "no retry", Spec: spec(noRetry)},
		{Name: "late results discarded", Spec: spec(discard), Outcomes: []Outcome{Succeeded, Broke}},
		{Name: "preemptible", Spec: spec(preemptible), Outcomes: []Outcome{Succeeded, Stopped}},
		{Name: "after another job", Spec: spec(waiting), After: true},
	}
}

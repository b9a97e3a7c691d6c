package sim

import (
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
)

// drawSpec draws what the job number i asks for.
func (w *world) drawSpec(i int) entropy.JobSpec {
	s := entropy.JobSpec{Command: []string{"work"}, Priority: w.rng.IntN(5) - 2,
		AckTimeout: entropy.Duration(w.between(2*time.Second, 10*time.Second)),
		Grace:      entropy.Duration(w.between(0, w.shape.ttl/3)),
		Retry: entropy.RetryPolicy{MaxAttempts: w.rng.IntN(4), MaxLosses: w.rng.IntN(5),
			Backoff:     entropy.Duration(w.between(100*time.Millisecond, 2*time.Second)),
			BackoffCap:  entropy.Duration(w.between(2*time.Second, 5*time.Second)),
			LostTimeout: entropy.Duration(w.between(5*time.Second, 30*time.Second))}}
	if w.chance(w.shape.stop) {
		s.Disconnect.Worker = entropy.DisconnectStop
	}
	if w.chance(w.shape.discard) {
		s.Disconnect.LateResult = entropy.LateDiscard
	}
	if w.chance(.2) {
		s.Disconnect.ReassignAfter = entropy.Duration(w.between(0, w.shape.ttl))
	}
	if w.chance(w.shape.noRetry) {
		s.Retry.NoRetry, s.Retry.MaxAttempts = true, 0
	} else {
		s.Preemptible = w.chance(w.shape.preemptible)
	}
	if w.chance(.3) {
		s.Retry.NonRetryable = []int{2}
	}
	w.drawPlace(&s)
	w.drawTimes(&s)
	w.drawAfter(&s, i)
	return s
}

func (w *world) drawPlace(s *entropy.JobSpec) {
	if n := w.shape.tenants; n > 1 {
		s.Tenant = "t" + strconv.Itoa(w.rng.IntN(n))
	}
	if w.chance(.3) {
		s.Queue = limitedQueue
	}
	if w.chance(.2) {
		s.Require = map[string]string{"zone": "a"}
	}
	if w.chance(w.shape.keyed) {
		s.ConcurrencyKey, s.Disconnect.Worker = "k"+strconv.Itoa(w.rng.IntN(3)), entropy.DisconnectStop
	}
	if !w.chance(w.shape.needy) {
		return
	}
	switch w.rng.IntN(4) {
	case 0:
		s.Resources = entropy.Resources{entropy.ResourceCPU: entropy.Amount(500 * (1 + w.rng.IntN(4)))}
	case 1:
		s.Resources = entropy.Resources{entropy.ResourceGPU: entropy.Amount(250 * (1 + w.rng.IntN(4)))}
	case 2: // only every second worker has two
		s.Resources, s.Require = entropy.Resources{entropy.ResourceGPU: 2 * entropy.Unit}, nil
	case 3:
		s.AnyOf = []entropy.Need{{Resources: entropy.Resources{entropy.ResourceGPU: entropy.Unit}},
			{Resources: entropy.Resources{entropy.ResourceCPU: 2 * entropy.Unit}}}
	}
}

func (w *world) drawTimes(s *entropy.JobSpec) {
	at := func(d time.Duration) *time.Time {
		t := epoch.Add(d)
		return &t
	}
	if w.chance(w.shape.delayed) {
		s.NotBefore = at(w.between(0, w.shape.horizon))
	}
	if w.chance(w.shape.impatient) {
		s.QueueTimeout = entropy.Duration(w.between(time.Second, w.shape.horizon))
	}
	if w.chance(w.shape.impatient) {
		s.NotAfter = at(w.shape.horizon + w.between(0, w.shape.horizon))
	}
	if w.chance(w.shape.impatient) {
		s.RunTimeout = entropy.Duration(w.between(w.shape.longestRun/2, w.shape.longestRun))
	}
}

// drawAfter has a job wait for some of those before it.
func (w *world) drawAfter(s *entropy.JobSpec, i int) {
	if i == 0 || !w.chance(w.shape.after) {
		return
	}
	for range 1 + w.rng.IntN(min(i, 3)) {
		d := entropy.Dependency{Job: entropy.JobID("j" + strconv.Itoa(1+w.rng.IntN(i)))}
		if w.chance(.4) {
			d.On = entropy.OnEnd
		}
		s.After = append(s.After, d)
	}
}

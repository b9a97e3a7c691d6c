package harness

import (
	"context"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors"
)

// This file holds what clients wish beside that jobs run: that some wait, go
// first, make room, or keep out of each other's way.

// tie makes some of the submissions of one call wait for others of it.
func (cl *client) tie(subs []entropy.Submission) {
	w := cl.w
	for i := 1; i < len(subs); i++ {
		up := subs[w.rng.IntN(i)].ID
		if up == "" || !w.chance(w.shape.after) {
			continue
		}
		on := entropy.OnSuccess
		if w.rng.IntN(2) == 0 {
			on = entropy.OnEnd
		}
		subs[i].Spec.After = []entropy.Dependency{{Job: up, On: on}}
	}
}

// drawWishes draws what a job asks for beside its turn.
func (w *world) drawWishes(s *entropy.JobSpec) {
	if w.chance(w.shape.needing) {
		s.Resources = entropy.Resources{"cpu": entropy.Amount(1+w.rng.IntN(4)) * entropy.Unit / 2}
	}
	if w.chance(w.shape.keyed) {
		s.ConcurrencyKey = []string{"red", "blue"}[w.rng.IntN(2)]
		s.Disconnect.Worker, s.Grace = entropy.DisconnectStop, entropy.Duration(w.shape.ttl/10)
	}
	s.Preemptible = w.chance(w.shape.preemptible) && !s.Retry.NoRetry
	if w.chance(.1) {
		s.Priority = 10
	}
}

// hold keeps a job back and lets it go later. Nobody looks after it: a duplicate
// of the hold that acted after the release would keep the job for ever (J-5).
func (cl *client) hold(id entropy.JobID) {
	back, people := cl.w.name("release"), 1+cl.w.rng.IntN(2)
	for range people {
		op := cl.w.name("hold")
		cl.treat("hold", id, func(ctx context.Context, s *actors.System) (*entropy.Job, error) {
			return s.Hold(ctx, id, entropy.Operation{ID: op})
		}, func(j *jobModel) bool { return j.fold.Held }, func() {
			if people--; people > 0 { // the other finds it held
				return
			}
			cl.w.tally[HeldBack]++
			cl.begin(cl.w.between(0, 10*time.Second), func() { cl.release(id, back) })
		})
	}
}

func (cl *client) release(id entropy.JobID, op string) {
	cl.treat("release", id, func(ctx context.Context, s *actors.System) (*entropy.Job, error) {
		return s.Release(ctx, id, entropy.Operation{ID: op})
	}, func(j *jobModel) bool { return !j.fold.Held }, func() {})
}

// prioritize gives a job another priority.
func (cl *client) prioritize(id entropy.JobID) {
	op, priority := cl.w.name("prioritize"), cl.w.rng.IntN(20)
	cl.treat("prioritize", id, func(ctx context.Context, s *actors.System) (*entropy.Job, error) {
		return s.Prioritize(ctx, id, priority, entropy.Operation{ID: op})
	}, func(j *jobModel) bool { return j.fold.Priority() == priority }, func() {})
}

// treat asks something about a job. So must be durable when it is acknowledged,
// unless the job has ended.
func (cl *client) treat(verb string, id entropy.JobID, do func(ctx context.Context, s *actors.System) (*entropy.Job, error), so func(j *jobModel) bool, then func()) {
	cl.call(verb+" "+string(id), func(ctx context.Context, s *actors.System) (any, error) {
		return do(ctx, s)
	}, func(_ any, err error) {
		j := cl.w.check.job(id)
		switch entropy.ErrorCode(err) {
		case entropy.CodeNotFound: // it has not arrived yet
			cl.begin(time.Second, func() { cl.treat(verb, id, do, so, then) })
		case "":
			cl.w.check.promised("the "+verb+" of "+string(id), so(j) || j.ended != "")
			then()
		case entropy.CodeConflict:
			cl.w.check.promised("the end of "+string(id), j.ended != "")
		default:
			cl.w.fail("J-14", "%s of %s: %v", verb, id, err)
		}
	})
}

// govern changes the policy: how many retries may be queued or run at once, and
// who may have others make room.
func (cl *client) govern() {
	op, retrying, urgent := cl.w.name("policy"), 1+cl.w.rng.IntN(3), 5
	cl.call("policy", func(ctx context.Context, s *actors.System) (any, error) {
		p, err := s.Policy(ctx)
		if err != nil {
			return nil, err
		}
		p.MaxRetrying, p.PreemptPriority = retrying, &urgent
		return s.SetPolicy(ctx, p, entropy.Operation{ID: op})
	}, func(v any, err error) {
		switch entropy.ErrorCode(err) {
		case "":
			cl.w.check.promised("the policy", cl.w.check.policy.Version >= v.(entropy.Policy).Version)
			cl.w.tally[PolicyChanged]++
		case entropy.CodeConflict: // somebody else was first
		default:
			cl.w.fail("J-7", "the policy: %v", err)
		}
	})
}

// documentEvent follows one durable event of a document.
func (k *checker) documentEvent(entity string, e entropy.Event) {
	d := k.docs[entity]
	if d == nil {
		if d = entropy.NewDocument(entity); d == nil {
			k.w.fail("INV-2", "event %d is of the unknown entity %s", e.Seq, entity)
			return
		}
		k.docs[entity] = d
	}
	_, before := d.Entity()
	if err := d.Apply(e); err != nil || e.Version != before+1 {
		k.w.fail("INV-2", "%s version %d after %d: %v", entity, e.Version, before, err)
	}
	if p, ok := d.(*entropy.Policy); ok {
		k.policy, k.governed = *p, k.w.now()
	}
	k.w.note("  %d %s v%d %s", e.Seq, entity, e.Version, e.Type)
}

// mayStart checks what an assigned job had to wait for.
func (k *checker) mayStart(j *jobModel, w entropy.WorkerID) {
	if j.fold.Held || j.fold.Blocked {
		k.w.fail("J-14", "%s is assigned though it is held (%t) or waits for others (%t)", j.id, j.fold.Held, j.fold.Blocked)
	}
	for _, d := range j.spec.After {
		if up := k.job(d.Job); up.ended == "" || d.On != entropy.OnEnd && up.ended != entropy.JobSucceeded {
			k.w.fail("J-10", "%s is assigned, and %s, which it waits for, has not ended as it should (%q)", j.id, d.Job, up.ended)
		}
	}
	used := make(entropy.Resources)
	for _, o := range k.order {
		if o == j || o.live == nil {
			continue
		}
		if o.spec.ConcurrencyKey != "" && o.spec.ConcurrencyKey == j.spec.ConcurrencyKey {
			k.w.fail("H-9", "%s and %s hold the concurrency key %s", o.id, j.id, j.spec.ConcurrencyKey)
		}
		if o.live.worker == w {
			used["cpu"] += o.spec.Resources["cpu"]
		}
	}
	if used["cpu"] += j.spec.Resources["cpu"]; used["cpu"] > k.w.host(w).cpu && j.spec.Resources != nil {
		k.w.fail("INV-12", "%s is assigned to %s, whose leases then take %s of its %s CPUs", j.id, w, used["cpu"], k.w.host(w).cpu)
	}
}

// requeued checks that no more jobs are tried again than the policy allows.
func (k *checker) requeued(j *jobModel) {
	if k.policy.MaxRetrying == 0 || k.w.now()-k.governed < 5*time.Second {
		return // a lower limit lets go on what is under way
	}
	n := 0
	for _, o := range k.order {
		if o == j || o.fold.Retried() {
			n++
		}
	}
	if n > k.policy.MaxRetrying && k.settled() {
		k.w.fail("J-7", "%s is queued again as the %dth, and the policy allows %d", j.id, n, k.policy.MaxRetrying)
	}
}

// settled reports whether nobody took up a retry slot otherwise than by asking:
// one that is preempted, released or reattached keeps what it had.
func (k *checker) settled() bool {
	for _, o := range k.order {
		if o.fold.Retried() && (o.fold.PreemptRequested || o.assignments[len(o.assignments)-1] != o.live && o.live != nil) {
			return false
		}
	}
	return true
}

// waits reports whether a job may have to wait for others, for longer than
// anybody can tell.
func (k *checker) waits(j *jobModel) bool {
	return len(j.spec.After) > 0 || j.spec.ConcurrencyKey != "" || j.spec.Resources != nil || j.fold.Held || k.policy.MaxRetrying > 0
}

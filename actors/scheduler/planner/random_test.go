package planner

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// reference chooses as the planner should, by sorting everything at every pick. It
// knows one tenant and no reservations.
func reference(l *lab, w *node) (best *entropy.Job) {
	running, keys := map[string]int{}, map[string]bool{}
	below := make([]int, len(l.p.policy.Gates))
	slots, free := w.worker.Slots, map[string]entropy.Amount{}
	for name, a := range w.worker.Resources {
		free[name] = a
	}
	for _, j := range l.jobs {
		if j.Lease == nil {
			continue
		}
		running[j.QueueName()]++
		keys[j.Spec.ConcurrencyKey] = true
		for i, g := range l.p.policy.Gates {
			if j.Spec.Priority < g.Priority {
				below[i]++
			}
		}
		if j.Lease.WorkerID == w.worker.ID {
			slots--
			for name, a := range j.Lease.Resources {
				free[name] -= a
			}
		}
	}
	key := func(j *entropy.Job) int64 { return Key(*j.EligibleAt, j.Priority(), l.p.policy.AgingStepOrDefault()) }
	fits := func(j *entropy.Job) bool {
		q := l.p.policy.Queues[j.QueueName()]
		if slots < 1 || j.Excludes(w.worker.ID) || q.Paused || q.MaxRunning > 0 && running[j.QueueName()] >= q.MaxRunning ||
			j.Spec.ConcurrencyKey != "" && keys[j.Spec.ConcurrencyKey] {
			return false
		}
		for i, g := range l.p.policy.Gates {
			if j.Spec.Priority < g.Priority && below[i]+1 > l.p.slots-g.Slots {
				return false
			}
		}
		return slices.ContainsFunc(j.Spec.Needs(), func(n entropy.Need) bool {
			return n.Matches(w.worker.Labels) && entropy.Resources(free).Fits(n.Resources)
		})
	}
	for _, j := range l.jobs {
		if j.State != entropy.Pending || j.Held || !fits(j) {
			continue
		}
		if best == nil || key(j) < key(best) || key(j) == key(best) && j.ID < best.ID {
			best = j
		}
	}
	return best
}

// proves J-8, J-9, H-9: over random histories each choice is that of a plain
// search over everything, and no capacity, limit or key is ever exceeded.
func TestAgainstReference(t *testing.T) {
	for seed := range uint64(60) {
		r := rng(seed)
		policy := entropy.Policy{ReserveAfter: entropy.Duration(1000 * time.Hour), Queues: map[string]entropy.QueuePolicy{"q1": {MaxRunning: 2}}}
		if r.IntN(2) == 0 {
			policy.Gates = []entropy.Gate{{Slots: 2, Priority: 3}, {Slots: 1, Priority: 8}}
		}
		l := newLab(t, policy)
		for i := range 3 {
			l.worker(fmt.Sprint("w", i), 1+r.IntN(4), entropy.Resources{"cpu": entropy.Amount(1+r.IntN(8)) * entropy.Unit, "license": entropy.Amount(r.IntN(3)) * entropy.Unit})
		}
		var ids []entropy.JobID
		for step := range 250 {
			l.now = l.now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			switch r.IntN(8) {
			case 0, 1, 2:
				id := fmt.Sprint("j", step)
				spec := entropy.JobSpec{Priority: r.IntN(12) - 2, Queue: []string{"", "q1", "q2"}[r.IntN(3)], ConcurrencyKey: []string{"", "", "", "k1", "k2"}[r.IntN(5)]}
				if r.IntN(2) == 0 {
					spec.Resources = entropy.Resources{"cpu": entropy.Amount(r.IntN(6000)) + 1}
				}
				if r.IntN(4) == 0 {
					spec.AnyOf = []entropy.Need{{Require: map[string]string{"host": "w0"}}, {Resources: entropy.Resources{"license": entropy.Unit}}}
				}
				l.submit(id, time.Hour, spec)
				ids = append(ids, entropy.JobID(id))
			case 3, 4:
				w := entropy.WorkerID(fmt.Sprint("w", r.IntN(3)))
				want := reference(l, l.p.workers[w])
				got := l.claim(w, 1)
				if want == nil && len(got) > 0 || want != nil && (len(got) == 0 || got[0] != string(want.ID)) {
					t.Fatalf("seed %d, step %d: %s got %v, want %v", seed, step, w, got, want)
				}
			case 5:
				randomChange(l, ids, r.IntN(1000), r.IntN(6))
			case 6:
				if r.IntN(10) == 0 {
					policy.AgingStep = entropy.Duration(time.Duration(1+r.IntN(60)) * time.Second)
					l.p.SetPolicy(&policy, l.now)
				}
			case 7: // a choice that comes to nothing
				for _, c := range l.p.Pick("w1", 2, l.now) {
					l.p.Undo(c.ID, l.now)
					l.p.Sync(l.jobs[c.ID], l.now)
				}
			}
			l.check()
		}
	}
}

func randomChange(l *lab, ids []entropy.JobID, n, kind int) {
	if len(ids) == 0 {
		return
	}
	j := l.jobs[ids[n%len(ids)]]
	switch {
	case j.State.Terminal():
	case j.Lease != nil:
		l.change(j.ID, func(j *entropy.Job) {
			j.State, j.Lease = []entropy.State{entropy.Succeeded, entropy.Pending, entropy.Retrying}[kind%3], nil
		})
	case kind == 0:
		l.change(j.ID, func(j *entropy.Job) { j.State = entropy.Canceled })
	case kind == 1:
		l.change(j.ID, func(j *entropy.Job) { j.Held = !j.Held })
	case kind == 2:
		l.change(j.ID, func(j *entropy.Job) { p := n % 10; j.PriorityNow = &p })
	case kind == 3:
		l.change(j.ID, func(j *entropy.Job) { j.Excluded = append(j.Excluded, entropy.WorkerID(fmt.Sprint("w", n%3))) })
	case j.State == entropy.Retrying:
		l.change(j.ID, func(j *entropy.Job) { j.State = entropy.Pending })
	}
}

// proves J-8, J-9: whatever the mix, with reservations and preemptions, every job
// that some worker can run runs in the end, and nothing is ever exceeded.
func TestEverythingRunsInTheEnd(t *testing.T) {
	for seed := range uint64(25) {
		r := rng(seed + 100)
		at := 8
		l := newLab(t, entropy.Policy{ReserveAfter: entropy.Duration(20 * time.Second), PreemptPriority: &at, Tenants: map[string]entropy.TenantPolicy{"a": {Weight: 5}},
			Gates: []entropy.Gate{{Slots: 1, Priority: 5}}, Queues: map[string]entropy.QueuePolicy{"q1": {MaxRunning: 3}}})
		for i := range 4 {
			l.worker(fmt.Sprint("w", i), 2+r.IntN(6), entropy.Resources{"cpu": 8 * entropy.Unit, "gpu": entropy.Amount(r.IntN(5)) * entropy.Unit})
		}
		for i := range 300 {
			spec := entropy.JobSpec{Tenant: []string{"a", "b", "c"}[r.IntN(3)], Priority: r.IntN(12), Queue: []string{"", "q1"}[r.IntN(2)], Preemptible: r.IntN(2) == 0,
				ConcurrencyKey: []string{"", "", "", "k"}[r.IntN(4)], Resources: entropy.Resources{"cpu": entropy.Amount(1+r.IntN(8)) * entropy.Unit}}
			if r.IntN(3) == 0 {
				spec.Resources["gpu"] = []entropy.Amount{250, 500, 1000, 2000}[r.IntN(4)]
			}
			if r.IntN(2) == 0 {
				spec.RunTimeout = entropy.Duration(time.Minute)
			}
			l.submit(fmt.Sprintf("j%03d", i), time.Duration(1+r.IntN(50))*time.Second, spec)
			if r.IntN(3) == 0 {
				l.run(l.now.Add(time.Duration(r.IntN(5)) * time.Second))
				l.check()
			}
		}
		l.run(l.now.Add(3 * time.Hour))
		l.check()
		for id, j := range l.jobs {
			possible := slices.ContainsFunc((&explainer{p: l.p}).nodes(), func(n *node) bool { return n.worker.Offers(&j.Spec) })
			if possible && j.State != entropy.Succeeded {
				x, never := l.p.Explain(id, l.now)
				t.Fatalf("seed %d: %s is %s: %+v %t", seed, id, j.State, x, never)
			}
		}
		if n := len(l.p.reservations); n > 0 {
			t.Errorf("seed %d: %d reservations are left", seed, n)
		}
	}
}

// proves J-8: without reservations the large job of TestLargeJobIsNotStarved is
// starved: that test can fail.
func TestLargeJobIsStarvedWithoutReservation(t *testing.T) {
	l := newLab(t, entropy.Policy{ReserveAfter: entropy.Duration(1000 * time.Hour)})
	l.worker("w0", 8, gpus(8))
	r := rng(5)
	l.submit("large", time.Minute, entropy.JobSpec{Resources: gpus(8)})
	for n := 0; l.now.Before(epoch.Add(30 * time.Minute)); l.run(l.now.Add(5 * time.Second)) {
		for l.p.Len() < 30 {
			n++
			l.submit(fmt.Sprintf("s%05d", n), time.Duration(20+r.IntN(60))*time.Second, entropy.JobSpec{Resources: gpus(1), Priority: 1})
		}
	}
	if l.state("large") != entropy.Pending {
		t.Error("it ran: the mix is too tame")
	}
}

// fleet fills a planner as the requirement has it.
func fleet(workers, sets, jobs int) *Planner {
	p := New(&entropy.Policy{Tenants: map[string]entropy.TenantPolicy{"t1": {Weight: 3}}}, epoch)
	for i := range workers {
		p.SetWorker(&entropy.Worker{ID: entropy.WorkerID(fmt.Sprintf("w%05d", i)), State: entropy.WorkerAlive, Slots: 16,
			Labels:    map[string]string{"set": fmt.Sprint(i % sets), "even": fmt.Sprint(i % 2), "os": "linux"},
			Resources: entropy.Resources{"cpu": 64 * entropy.Unit, "mem": 1 << 40, "gpu": 8 * entropy.Unit}})
	}
	for i := range jobs {
		at := epoch.Add(time.Duration(i) * time.Millisecond)
		require := map[string]string{"set": fmt.Sprint(i % sets)}
		if i%2 == 0 {
			require = map[string]string{"even": fmt.Sprint(i / 2 % 2), "os": "linux"}
		}
		p.Sync(&entropy.Job{ID: entropy.JobID(fmt.Sprintf("job-%09d", i)), State: entropy.Pending, EligibleAt: &at,
			Spec: entropy.JobSpec{Tenant: fmt.Sprint("t", i%4), Queue: fmt.Sprint("q", i%3), Require: require, Resources: entropy.Resources{"cpu": entropy.Amount(1+i%4) * entropy.Unit}}}, epoch)
	}
	return p
}

// BenchmarkDecision measures a choice for one worker, and giving it back, with
// 1,000,000 queued jobs, 1,000 workers and 200 requirement sets.
func BenchmarkDecision(b *testing.B) {
	p := fleet(1000, 200, 1_000_000)
	now := epoch.Add(time.Hour)
	b.ReportMetric(float64(len(p.groups)), "groups")
	for i := 0; b.Loop(); i++ {
		for _, c := range p.Pick(entropy.WorkerID(fmt.Sprintf("w%05d", i%1000)), 1, now) {
			p.Undo(c.ID, now)
		}
	}
}

// BenchmarkQueue measures a job on its way through the planner.
func BenchmarkQueue(b *testing.B) {
	p := fleet(1000, 200, 100_000)
	at := epoch.Add(time.Hour)
	for i := 0; b.Loop(); i++ {
		j := &entropy.Job{ID: entropy.JobID(fmt.Sprintf("new-%09d", i)), State: entropy.Pending, EligibleAt: &at,
			Spec: entropy.JobSpec{Require: map[string]string{"set": fmt.Sprint(i % 200)}}}
		p.Sync(j, at)
		j.State = entropy.Canceled
		p.Sync(j, at)
	}
}

// BenchmarkReserve measures the look for workers to reserve, once a second, on
// 10,000 workers that are full, for 200 sets of requirements that have waited for
// too long.
func BenchmarkReserve(b *testing.B) {
	p := fleet(10_000, 200, 400_000)
	now := epoch.Add(time.Hour)
	for id := range p.workers {
		p.Pick(id, 16, now)
	}
	b.ReportMetric(float64(len(p.groups)), "groups")
	for b.Loop() {
		now = now.Add(time.Second)
		p.Reserve(now)
	}
}

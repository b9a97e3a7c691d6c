package planner

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves J-8: within a tenant the order is enqueued_at − priority × aging_step; a
// wait of one step makes up for one step of priority, also when the step changes.
func TestOrder(t *testing.T) {
	l := newLab(t, entropy.Policy{})
	l.worker("w", 10, nil)
	at := func(s int, id string, priority int) {
		l.now = epoch.Add(time.Duration(s) * time.Second)
		l.submit(id, time.Hour, entropy.JobSpec{Priority: priority})
	}
	at(0, "old", 0)
	at(0, "low", -1)
	at(39, "aged", 1)
	at(100, "urgent", 2)
	at(100, "new", 0)
	want := []string{"aged", "urgent", "old", "low", "new"}
	for i, id := range want[:2] {
		if got := l.claim("w", 1); !slices.Equal(got, []string{id}) {
			t.Fatalf("%d: %v, want %s", i, got, id)
		}
	}
	l.change("new", func(j *entropy.Job) { p := 90; j.PriorityNow = &p })
	l.change("low", func(j *entropy.Job) { j.State = entropy.Canceled })
	if got := l.claim("w", 10); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("%v", got)
	}
	at(200, "a", 0)
	at(230, "b", 1)
	l.p.SetPolicy(&entropy.Policy{AgingStep: entropy.Duration(10 * time.Second)}, l.now)
	if got := l.claim("w", 10); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("after the step was shortened: %v", got)
	}
	l.check()
}

// proves J-9: whole GPUs by index, fractions packed so that whole ones stay whole,
// alternatives in order.
func TestGPUs(t *testing.T) {
	l := newLab(t, entropy.Policy{})
	l.worker("w", 20, entropy.Resources{"gpu": 4 * entropy.Unit, "cpu": 8 * entropy.Unit})
	half := entropy.Resources{"gpu": entropy.Unit / 2}
	for i, c := range []struct {
		spec entropy.JobSpec
		want string
	}{
		{entropy.JobSpec{Resources: half}, "[{0 0.5}]"},
		{entropy.JobSpec{Resources: gpus(2)}, "[{1 1} {2 1}]"},
		{entropy.JobSpec{Resources: entropy.Resources{"gpu": 250}}, "[{0 0.25}]"},
		{entropy.JobSpec{Resources: half}, "[{3 0.5}]"},
		{entropy.JobSpec{Resources: entropy.Resources{"gpu": 250}}, "[{0 0.25}]"},
		{entropy.JobSpec{AnyOf: []entropy.Need{{Resources: gpus(1)}, {Resources: entropy.Resources{"cpu": 6 * entropy.Unit}}}}, "[]"},
		{entropy.JobSpec{Resources: gpus(1)}, "none"},
		{entropy.JobSpec{Resources: entropy.Resources{"cpu": 3 * entropy.Unit}}, "none"},
	} {
		id := fmt.Sprint("j", i)
		j := l.submit(id, time.Hour, c.spec)
		got := "none"
		if len(l.claim("w", 1)) == 1 {
			got = fmt.Sprint(l.jobs[j.ID].Lease.GPUs)
		} else {
			l.change(j.ID, func(j *entropy.Job) { j.State = entropy.Canceled })
		}
		if got != c.want {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
	l.check()
}

// proves H-9: of one concurrency key one job runs, the first in the order; it is
// freed by the end of its lease.
func TestConcurrencyKey(t *testing.T) {
	l := newLab(t, entropy.Policy{})
	l.worker("w", 10, nil)
	key := func(priority int) entropy.JobSpec {
		return entropy.JobSpec{ConcurrencyKey: "db", Priority: priority, Disconnect: entropy.Disconnect{Worker: entropy.DisconnectStop}}
	}
	l.submit("a", time.Minute, key(0))
	l.submit("b", time.Minute, key(0))
	l.submit("urgent", time.Minute, key(5))
	if got := l.claim("w", 10); !slices.Equal(got, []string{"urgent"}) {
		t.Fatalf("%v", got)
	}
	l.submit("more urgent", time.Minute, key(9))
	for _, want := range []string{"more urgent", "a", "b"} {
		l.now = l.now.Add(time.Minute)
		for _, j := range l.jobs {
			if j.Lease != nil {
				l.change(j.ID, func(j *entropy.Job) { j.State, j.Lease = entropy.Succeeded, nil })
			}
		}
		if got := l.claim("w", 10); !slices.Equal(got, []string{want}) {
			t.Fatalf("%v, want %s", got, want)
		}
		l.check()
	}
	l.change("b", func(j *entropy.Job) { j.State, j.Lease = entropy.Succeeded, nil })
	if len(l.p.keys) != 0 {
		t.Errorf("%d keys are remembered", len(l.p.keys))
	}
}

// proves J-8, J-10: a paused queue starts nothing, a limited one no more than it
// may, and a gate keeps its slots for urgent jobs.
func TestQueuesAndGates(t *testing.T) {
	l := newLab(t, entropy.Policy{Queues: map[string]entropy.QueuePolicy{"paused": {Paused: true}, "two": {MaxRunning: 2}},
		Gates: []entropy.Gate{{Slots: 3, Priority: 50}}})
	l.worker("w", 6, nil)
	for i := range 4 {
		l.submit(fmt.Sprint("p", i), time.Hour, entropy.JobSpec{Queue: "paused"})
		l.submit(fmt.Sprint("t", i), time.Hour, entropy.JobSpec{Queue: "two"})
		l.submit(fmt.Sprint("d", i), time.Hour, entropy.JobSpec{})
	}
	if got := l.claim("w", 10); !slices.Equal(got, []string{"d0", "d1", "d2"}) {
		t.Fatalf("beside the gate: %v", got)
	}
	l.submit("u0", time.Hour, entropy.JobSpec{Priority: 50})
	l.submit("u1", time.Hour, entropy.JobSpec{Priority: 99, Queue: "two"})
	if got := l.claim("w", 10); !slices.Equal(got, []string{"u1", "u0"}) {
		t.Fatalf("through the gate: %v", got)
	}
	l.p.SetPolicy(&entropy.Policy{Queues: map[string]entropy.QueuePolicy{"two": {MaxRunning: 2}}}, l.now)
	if got := l.claim("w", 10); !slices.Equal(got, []string{"d3"}) {
		t.Fatalf("without the gate: %v", got)
	}
	for _, id := range []entropy.JobID{"d0", "d1", "d2"} {
		l.change(id, func(j *entropy.Job) { j.State, j.Lease = entropy.Succeeded, nil })
	}
	if got := l.claim("w", 10); !slices.Equal(got, []string{"p0", "p1", "p2"}) && !slices.Equal(got, []string{"p0", "t0", "p1"}) {
		t.Fatalf("after the pause: %v", got)
	}
	l.check()
}

// proves J-8: tenants of weights 3 and 1 that are always waiting get slot-seconds
// at 3:1 within 5 %, with jobs of different lengths; one that was idle has saved
// up nothing.
func TestTenantsByWeight(t *testing.T) {
	for _, lengths := range [][2]time.Duration{{time.Minute, time.Minute}, {10 * time.Second, 5 * time.Minute}, {5 * time.Minute, 10 * time.Second}} {
		l := newLab(t, entropy.Policy{Tenants: map[string]entropy.TenantPolicy{"a": {Weight: 3}}})
		for i := range 4 {
			l.worker(fmt.Sprint("w", i), 5, nil)
		}
		used := map[string]float64{}
		l.onStart = func(j *entropy.Job) { used[j.TenantName()] += l.length[j.ID].Seconds() }
		r := rng(1)
		n := 0
		refill := func(tenant string, mean time.Duration) {
			for l.p.tenant(tenant).queued < 40 {
				n++
				l.submit(fmt.Sprintf("%s%06d", tenant, n), time.Duration((0.5+r.Float64())*float64(mean)), entropy.JobSpec{Tenant: tenant})
			}
		}
		late := 0
		for l.now.Before(epoch.Add(8 * time.Hour)) {
			refill("a", lengths[0])
			refill("b", lengths[1])
			if l.now.After(epoch.Add(4 * time.Hour)) {
				if late == 0 {
					clear(used)
				}
				late++
			}
			l.run(l.now.Add(20 * time.Second))
		}
		if ratio := used["a"] / used["b"]; ratio < 2.85 || ratio > 3.15 {
			t.Errorf("lengths %v: 3:1 came out as %.3f:1", lengths, ratio)
		}
		l.check()
		for i := range 100 { // c was idle all the while: it gets its part, not all it missed
			l.submit(fmt.Sprintf("c%03d", i), time.Minute, entropy.JobSpec{Tenant: "c"})
		}
		clear(used)
		for range 15 {
			refill("a", lengths[0])
			refill("b", lengths[1])
			l.run(l.now.Add(20 * time.Second))
		}
		if share := used["c"] / (used["a"] + used["b"] + used["c"]); share > 0.4 {
			t.Errorf("lengths %v: who was idle got %.2f of everything, its part is 0.2", lengths, share)
		}
	}
}

// proves J-8: under a saturated mix the longest wait is bounded by the aging
// formula: a job of priority p waits behind nothing that came more than (Δp) steps
// after it, so that it starts at the latest when all that came before that has run.
func TestLongestWait(t *testing.T) {
	step := 10 * time.Second
	l := newLab(t, entropy.Policy{AgingStep: entropy.Duration(step)})
	l.worker("w", 8, nil)
	r := rng(3)
	const length = 10 * time.Second
	var order []entropy.JobID
	l.onStart = func(j *entropy.Job) { order = append(order, j.ID) }
	for i := range 3000 { // 8 slots take 0.8 jobs a second; 0.91 arrive
		l.run(epoch.Add(time.Duration(i) * 1100 * time.Millisecond))
		l.submit(fmt.Sprintf("j%05d", i), length, entropy.JobSpec{Priority: r.IntN(41) - 20})
	}
	l.run(l.now.Add(time.Hour))
	key := func(id entropy.JobID) int64 {
		j := l.jobs[id]
		return Key(*j.EligibleAt, j.Spec.Priority, step)
	}
	worst := time.Duration(0)
	for i, id := range order {
		for _, before := range order[:i] { // what started while it waited had the smaller key
			if l.started[before].After(*l.jobs[id].EligibleAt) && l.started[before].Before(l.started[id]) && key(before) > key(id) {
				t.Fatalf("%s started before %s, against the formula", before, id)
			}
		}
		worst = max(worst, l.wait(id))
	}
	// Nothing submitted more than 40 steps (the span of priorities) after a job goes
	// before it: 400 s of arrivals, which with what was queued 8 slots run in less
	// than twice that time.
	if len(order) != 3000 || worst > 2*40*step {
		t.Errorf("%d started, longest wait %s", len(order), worst)
	}
}

// proves J-8: an 8-GPU job is not starved by 1-GPU jobs, with and without run
// timeouts; backfill never delays it beyond what was promised.
func TestLargeJobIsNotStarved(t *testing.T) {
	for _, timeout := range []time.Duration{0, 90 * time.Second} {
		l := newLab(t, entropy.Policy{ReserveAfter: entropy.Duration(time.Minute)})
		l.worker("w0", 8, gpus(8))
		l.worker("w1", 8, gpus(8))
		r := rng(5)
		n := 0
		small := func() {
			for l.p.Len() < 30 {
				n++
				l.submit(fmt.Sprintf("s%05d", n), time.Duration(20+r.IntN(60))*time.Second, entropy.JobSpec{Resources: gpus(1), RunTimeout: entropy.Duration(timeout)})
			}
		}
		for range 10 {
			small()
			l.run(l.now.Add(10 * time.Second))
		}
		l.submit("large", time.Minute, entropy.JobSpec{Resources: gpus(8)})
		for i := 0; l.state("large") == entropy.Pending && i < 100; i++ {
			small()
			l.run(l.now.Add(10 * time.Second))
			l.check()
		}
		// Before it go the 30 that came before it, at most 80 s each on 16 GPUs; then,
		// a second for the reservation, the last of what ran on its worker must end.
		if wait := l.wait("large"); l.state("large") == entropy.Pending || wait > (150+80+12)*time.Second {
			t.Errorf("timeout %s: the large job waited %s (%s)", timeout, wait, l.state("large"))
		}
	}
}

// proves J-8: only jobs that end in time pass a reservation.
func TestBackfill(t *testing.T) {
	l := newLab(t, entropy.Policy{ReserveAfter: entropy.Duration(10 * time.Second)})
	l.worker("w", 4, gpus(4))
	d := func(s int) entropy.Duration { return entropy.Duration(time.Duration(s) * time.Second) }
	l.submit("running", 100*time.Second, entropy.JobSpec{Resources: gpus(2), RunTimeout: d(100)})
	l.run(l.now.Add(time.Second))
	l.submit("large", time.Minute, entropy.JobSpec{Resources: gpus(3)})
	l.run(l.now.Add(15 * time.Second)) // its worker is reserved by now, and free at +100 s
	l.submit("long", time.Hour, entropy.JobSpec{Resources: gpus(2), RunTimeout: d(3600)})
	l.submit("unknown", 5*time.Second, entropy.JobSpec{Resources: gpus(2)})
	l.submit("beside", time.Hour, entropy.JobSpec{Resources: gpus(1), RunTimeout: d(3600)})
	l.submit("short", 30*time.Second, entropy.JobSpec{Resources: gpus(1), RunTimeout: d(30)})
	l.run(l.now.Add(time.Second))
	for id, want := range map[string]entropy.State{"long": entropy.Pending, "unknown": entropy.Pending, "beside": entropy.Running, "short": entropy.Running} {
		if got := l.state(id); got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	l.run(epoch.Add(102 * time.Second))
	if l.state("large") != entropy.Running || l.started["large"].After(epoch.Add(101*time.Second)) {
		t.Errorf("the large job is %s, started at +%s", l.state("large"), l.started["large"].Sub(epoch))
	}
	l.check()
}

// proves J-8: an urgent job ends as few preemptible ones as it must, the least
// urgent and youngest, and gets their room; nobody is asked twice.
func TestPreemption(t *testing.T) {
	at := 80
	l := newLab(t, entropy.Policy{PreemptPriority: &at})
	l.worker("w0", 8, gpus(4))
	l.worker("w1", 8, gpus(4))
	spec := func(priority int, preemptible bool, n entropy.Amount) entropy.JobSpec {
		return entropy.JobSpec{Priority: priority, Preemptible: preemptible, Resources: gpus(n)}
	}
	l.submit("fixed", time.Hour, spec(0, false, 3))
	l.claim("w0", 1)
	l.submit("p1", time.Hour, spec(0, true, 1))
	l.claim("w0", 1)
	for i, id := range []string{"q0", "q1", "q2", "q3"} {
		l.now = l.now.Add(time.Second)
		l.submit(id, time.Hour, spec([]int{5, 0, 0, 9}[i], true, 1))
		l.claim("w1", 1)
	}
	l.submit("equal", time.Hour, spec(0, false, 1))
	l.submit("urgent", time.Hour, spec(90, false, 2))
	got := l.p.Preemptions(l.now)
	var ids []string
	for _, x := range got {
		ids = append(ids, string(x.Job))
		if x.For != "urgent" || x.Worker != "w1" {
			t.Errorf("%+v", x)
		}
	}
	if slices.Sort(ids); !slices.Equal(ids, []string{"q1", "q2"}) {
		t.Fatalf("asked %v", ids)
	}
	if again := l.p.Preemptions(l.now); len(again) != 0 {
		t.Errorf("asked again: %v", again)
	}
	l.change("q1", func(j *entropy.Job) { j.State, j.Lease = entropy.Pending, nil })
	if got := l.claim("w1", 8); len(got) != 0 {
		t.Errorf("the room was given to %v", got)
	}
	l.change("q2", func(j *entropy.Job) { j.State, j.Lease = entropy.Succeeded, nil }) // its exit was first
	if got := l.claim("w1", 8); !slices.Equal(got, []string{"urgent"}) {
		t.Errorf("the room was given to %v", got)
	}
	l.check()
}
